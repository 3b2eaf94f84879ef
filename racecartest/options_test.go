package racecartest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// producerOf is a consumer that produces each message's value to "out" and then returns
// what outcome says.
func producerOf(outcome func(value string) error) func(racecar.Runtime) (racecar.ProcessFunc, error) {
	return func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			out := racecar.ProducerMessage{Topic: "out", Value: m.Value}
			return errors.Join(rt.Producer.Produce(ctx, out), outcome(string(m.Value)))
		}, nil
	}
}

func produced(r racecartest.Result) string {
	var all []string
	for _, m := range r.Produced {
		all = append(all, string(m.Value))
	}
	return strings.Join(all, " ")
}

// Produced has what a worker would commit: of a transactional consumer not the output of
// calls that it would repeat.
func TestRunDropsTheOutputOfFailedTransactions(t *testing.T) {
	cause := errors.New("cause")
	outcome := func(value string) error {
		return map[string]error{
			"retry": cause, "later": racecar.RetryAfter(cause, 1), "fatal": racecar.Fatal(cause),
			"skip": racecar.Skip(cause), "dead": racecar.DeadLetter(cause), "held": racecar.Unavailable(cause),
		}[value]
	}
	messages := valued("one", "retry", "held", "skip", "later", "dead", "fatal", "two")
	for _, tc := range []struct {
		name string
		spec racecar.Spec
		want string
	}{
		{"not transactional", racecar.Spec{Name: "C"}, "one retry held skip later dead fatal two"},
		{"transactional", racecar.Spec{Name: "C", Transactional: true, MaxRetries: 1}, "one skip dead two"},
		{"transactional, without dead-letter topic", racecar.Spec{Name: "C", Transactional: true}, "one skip two"},
	} {
		if got := produced(racecartest.Run(t, producerOf(outcome), messages, racecartest.WithSpec(tc.spec))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := produced(racecartest.Run(t, producerOf(outcome), messages)); got != "one retry held skip later dead fatal two" {
		t.Errorf("without a Spec: %s", got)
	}
}

// The default producer's output is in no transaction.
func TestRunKeepsWhatIsProducedBesideTheTransaction(t *testing.T) {
	r := racecartest.Run(t, func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			beside := racecar.ProducerMessage{Topic: "out", Value: []byte("beside")}
			within := racecar.ProducerMessage{Topic: "out", Value: []byte("within")}
			return errors.Join(rt.Producer.Produce(ctx, within), racecar.ProduceSync(ctx, beside), rt.Producer.Produce(ctx, within), errors.New("failed"))
		}, nil
	}, valued("x"), racecartest.WithSpec(racecar.Spec{Name: "C", Transactional: true}))
	if got := produced(r); got != "beside" {
		t.Errorf("got %q", got)
	}
}

// A transactional batch that has produced something and names a message is called again in
// smaller batches, in Run as in a worker.
func TestRunRepeatsATransactionalBatchInParts(t *testing.T) {
	spec := racecar.Spec{Name: "C", GroupID: "c", Transactional: true, MaxRetries: 1, Subscriptions: []racecar.Subscription{{Topic: "in"}}}
	var batches []string
	newConsumer := func(rt racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(ctx context.Context, batch []*racecar.Message) error {
			var values []string
			for _, m := range batch {
				values = append(values, string(m.Value))
			}
			batches = append(batches, strings.Join(values, ""))
			for i, m := range batch {
				if err := rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "out", Value: m.Value}); err != nil {
					return err
				}
				if string(m.Value) == "D" {
					return racecar.FailedAt(i, racecar.DeadLetter(errors.New("bad")))
				}
			}
			return nil
		}, nil
	}
	values := []string{"a", "b", "D", "c"}
	r := racecartest.Run(t, newConsumer, valued(values...), racecartest.WithSpec(spec))
	inRun := fmt.Sprintf("%v %v %s", batches, verdicts(r), produced(r))
	if want := "[abDc ab Dc D c] [processed processed dead-lettered processed] a b D c"; inRun != want {
		t.Errorf("Run: %s\nwant %s", inRun, want)
	}

	batches = nil
	b := racecartest.NewBroker(t)
	b.Topic("in", 1)
	b.Topic("out", 1)
	for _, v := range values {
		b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte(v)})
	}
	w := racecartest.RunWorker(t, b, newConsumer, racecartest.WithSpec(spec))
	b.WaitConsumed("c", "in")
	w.Stop()
	var out []string
	for _, m := range b.Messages("out") {
		out = append(out, string(m.Value))
	}
	if got := fmt.Sprintf("%v %v", batches, out); got != "[abDc ab Dc D c] [a b D c]" {
		t.Errorf("a worker: %s", got)
	}
}

// Run's consumer has the names and limits of its Spec and configuration.
func TestRunGoesByTheSpec(t *testing.T) {
	var w racecar.Worker
	var got []int
	newConsumer := func(rt racecar.Runtime) (sizes, error) {
		w = rt.Worker
		return sizes{&got}, nil
	}
	messages := valued("a", "b", "c", "d", "e")
	racecartest.Run(t, newConsumer, messages, racecartest.WithSpec(racecar.Spec{GroupID: "g", FetchMessages: 2}))
	if fmt.Sprint(w, got) != "{sizes 0 g} [2 2 1]" {
		t.Errorf("%+v, batches %v", w, got)
	}
	got = nil
	racecartest.Run(t, newConsumer, messages, racecartest.WithConfig(func(c *racecar.Config) { c.FetchMessages = 4 }))
	if fmt.Sprint(w, got) != "{Test 0 test} [4 1]" {
		t.Errorf("%+v, batches %v", w, got)
	}
}

// A message is too large as message.max.bytes of the configuration says.
func TestRunHasTheConfiguredLimit(t *testing.T) {
	large := func(n int) func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
			return func(ctx context.Context, m *racecar.Message) error {
				return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "t", Value: make([]byte, n)})
			}, nil
		}
	}
	for property, allowed := range map[string]int{"message.max.bytes=2000": 1000, "message.max.bytes=3000000": 2_000_000} {
		limit := racecartest.WithConfig(func(c *racecar.Config) { c.Producer = []string{property} })
		if err := racecartest.Run(t, large(allowed), valued("x"), limit).Err(); err != nil {
			t.Errorf("%s: %v", property, err)
		}
		if err := racecartest.Run(t, large(2*allowed), valued("x"), limit).Err(); err == nil {
			t.Errorf("%s: %d bytes are accepted", property, 2*allowed)
		}
	}
}
