package racecartest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/racecartest"
)

// defaultUser produces with the package functions.
type defaultUser struct{}

func (defaultUser) Process(ctx context.Context, m *racecar.Message) error {
	err := racecar.WaitForDelivery(ctx, func(ctx context.Context) error {
		return racecar.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Value: append([]byte("async "), m.Value...)})
	})
	if err != nil {
		return err
	}
	return racecar.ProduceSync(ctx, racecar.ProducerMessage{Topic: "out", Value: append([]byte("sync "), m.Value...)})
}

func newDefaultUser(racecar.Runtime) (defaultUser, error) { return defaultUser{}, nil }

// Run records messages that consumer code produces with the package functions, RunWorker sends
// them to the test's broker, and without the ctx of a call they are refused.
func TestDefaultProducerInTests(t *testing.T) {
	r := racecartest.Run(t, newDefaultUser, []*racecar.Message{{Topic: "in", Value: []byte("x")}})
	if r.Err() != nil || len(r.Produced) != 2 || string(r.Produced[0].Value) != "async x" || string(r.Produced[1].Value) != "sync x" {
		t.Errorf("%v, %v", r.Produced, r.Err())
	}
	b := racecartest.NewBroker(t)
	b.Topic("in", 1)
	b.Topic("out", 1)
	b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("y")})
	w := racecartest.RunWorker(t, b, newDefaultUser, racecartest.WithSpec(racecar.Spec{Name: "D", GroupID: "d", Subscriptions: []racecar.Subscription{{Topic: "in"}}}))
	out := b.WaitMessages("out", 2)
	w.Stop()
	if string(out[0].Value) != "async y" || string(out[1].Value) != "sync y" {
		t.Errorf("%s, %s", out[0].Value, out[1].Value)
	}
	if err := racecar.ProduceSync(t.Context(), racecar.ProducerMessage{Topic: "out"}); err == nil || !strings.Contains(err.Error(), "ctx of the call") {
		t.Errorf("without the ctx of a call: %v", err)
	}
}

// Two workers of one consumer share its partitions.
func TestTwoWorkersOfOneConsumer(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("in", 4)
	spec := racecar.Spec{Name: "D", GroupID: "d", ParallelWorkers: 2, Subscriptions: []racecar.Subscription{{Topic: "in"}}}
	one := racecartest.RunWorker(t, b, newIdle, racecartest.WithSpec(spec))
	two := racecartest.RunWorker(t, b, newIdle, racecartest.WithSpec(spec))
	for _, w := range []*racecartest.Worker{one, two} {
		racecartest.WaitFor(w, func(e event.PartitionsAssigned) bool { return len(e.Partitions["in"]) == 2 })
	}
	for range 8 {
		b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("x")}) // one call each: in turn nevertheless
	}
	b.WaitConsumed("d", "in")
	for p, offset := range b.Committed("d", "in") {
		if offset != 2 {
			t.Errorf("partition %d: %d of 2 messages", p, offset)
		}
	}
	one.Stop()
	two.Stop()
}

type idle struct{}

func (idle) Process(context.Context, *racecar.Message) error { return nil }

func newIdle(racecar.Runtime) (idle, error) { return idle{}, nil }

// producing produces what the function makes of a message.
type producing struct {
	out   racecar.Producer
	makes func(m *racecar.Message) racecar.ProducerMessage
	buf   []byte
}

func (p *producing) Process(ctx context.Context, m *racecar.Message) error {
	p.buf = append(p.buf[:0], m.Value...)
	out := p.makes(m)
	if out.Value == nil {
		out.Value = p.buf
	}
	return p.out.Produce(ctx, out)
}

// Run refuses what a worker's producer refuses, and copies buffers.
func TestRunRefusesInvalidMessages(t *testing.T) {
	minus := int32(-3)
	for name, m := range map[string]racecar.ProducerMessage{
		"no topic":  {},
		"partition": {Topic: "t", Partition: &minus},
		"size":      {Topic: "t", Value: make([]byte, 2<<20)},
		"long name": {Topic: strings.Repeat("t", 300)},
		"bad name":  {Topic: "orders/eu"},
		"1960":      {Topic: "t", Timestamp: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		makes := func(rt racecar.Runtime) (*producing, error) {
			return &producing{out: rt.Producer, makes: func(*racecar.Message) racecar.ProducerMessage { return m }}, nil
		}
		r := racecartest.Run(t, makes, []*racecar.Message{{Topic: "in", Value: []byte("v")}})
		if r.Errors[0] == nil || len(r.Produced) != 0 {
			t.Errorf("%s: %v was taken", name, r.Produced)
		}
	}
	ignore := func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			if string(m.Value) == "bad" {
				_ = rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "orders/eu"}) // a broker refuses it later
			}
			return racecar.Skip(errors.New("skipped"))
		}, nil
	}
	if got := fmt.Sprint(verdicts(racecartest.Run(t, ignore, valued("bad", "good")))); got != "[retried skipped]" {
		t.Errorf("output that was refused is ignored: %s", got)
	}
	var partition int32
	reuse := func(rt racecar.Runtime) (*producing, error) {
		return &producing{out: rt.Producer, makes: func(*racecar.Message) racecar.ProducerMessage {
			partition++
			return racecar.ProducerMessage{Topic: "t", Partition: &partition}
		}}, nil
	}
	r := racecartest.Run(t, reuse, []*racecar.Message{{Topic: "in", Value: []byte("one")}, {Topic: "in", Value: []byte("two")}})
	if string(r.Produced[0].Value) != "one" || string(r.Produced[1].Value) != "two" {
		t.Errorf("%s, %s", r.Produced[0].Value, r.Produced[1].Value)
	}
	if one, two := *r.Produced[0].Partition, *r.Produced[1].Partition; one != 1 || two != 2 {
		t.Errorf("partitions %d, %d", one, two)
	}
}

type sizes struct{ list *[]int }

func (s sizes) ProcessBatch(_ context.Context, ms []*racecar.Message) error {
	*s.list = append(*s.list, len(ms))
	return nil
}

// Batches have at most fetch_messages messages, as in a worker.
func TestRunBatches(t *testing.T) {
	var got []int
	messages := make([]*racecar.Message, 2500)
	for i := range messages {
		messages[i] = &racecar.Message{Topic: "t", Offset: int64(i)}
	}
	racecartest.Run(t, func(racecar.Runtime) (sizes, error) { return sizes{&got}, nil }, messages)
	if fmt.Sprint(got) != "[1000 1000 500]" {
		t.Errorf("%v", got)
	}
}

// overwriting is a batch consumer that changes its batch.
type overwriting struct{ saw *[]string }

func (c overwriting) ProcessBatch(_ context.Context, batch []*racecar.Message) error {
	bad := -1
	for i, m := range batch {
		*c.saw = append(*c.saw, string(m.Value))
		if string(m.Value) == "bad" {
			bad = i
		}
		m.Value[0], m.Headers[0].Value[0] = 'X', 'X'
	}
	clear(batch)
	if bad >= 0 {
		return racecar.FailedAt(bad, racecar.Skip(errors.New("bad")))
	}
	return nil
}

// Messages are handed over again as they were received, whatever a call has made of them.
func TestRunHandsOverWhatWasReceived(t *testing.T) {
	messages := valued("one", "bad", "two")
	for _, m := range messages {
		m.Headers = []racecar.Header{{Key: "h", Value: []byte("h")}}
	}
	var saw []string
	r := racecartest.Run(t, func(racecar.Runtime) (overwriting, error) { return overwriting{&saw}, nil }, messages)
	if got := fmt.Sprint(saw, verdicts(r)); got != "[one bad two two] [processed skipped processed]" {
		t.Error(got)
	}
	if m := messages[2]; string(m.Value) != "two" || string(m.Headers[0].Value) != "h" {
		t.Errorf("the test's own message is %s, %s", m.Value, m.Headers[0].Value)
	}
}

// trial is a test whose failure is expected.
type trial struct {
	testing.TB
	failure string
}

func (f *trial) Helper()                        {}
func (f *trial) Errorf(format string, a ...any) { f.failure += fmt.Sprintf(format, a...) }
func (f *trial) Fatal(a ...any)                 { f.Fatalf("%v", a...) }
func (f *trial) Fatalf(format string, a ...any) { f.Errorf(format, a...); panic(f) }

// run returns when the test has ended or failed.
func (f *trial) run(test func()) {
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
	}()
	test()
}

// ended is a test that has ended, so that nothing is waited for.
type ended struct{ testing.TB }

func (ended) Context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A mistake in a test fails it with a message that names the mistake.
func TestMistakesOfTests(t *testing.T) {
	for want, does := range map[string]func(testing.TB){
		"message 1 of 2 is nil":                                                   func(tb testing.TB) { racecartest.Run(tb, newIdle, []*racecar.Message{{}, nil}) },
		`"orders/eu" cannot be a topic's name`:                                    func(tb testing.TB) { racecartest.NewBroker(tb).Topic("orders/eu", 1) },
		`"orders eu" cannot be a topic's name`:                                    func(tb testing.TB) { racecartest.NewBroker(tb).Produce(racecar.ProducerMessage{Topic: "orders eu"}) },
		`topic "orders" needs a partition, not 0`:                                 func(tb testing.TB) { racecartest.NewBroker(tb).Topic("orders", 0) },
		"a worker needs to know the topics of its consumer: racecartest.WithSpec": func(tb testing.TB) { racecartest.RunWorker(tb, racecartest.NewBroker(tb), newIdle) },
		"FailNext(nil) would drop messages: give it an error": func(tb testing.TB) {
			racecartest.RunWorker(tb, racecartest.NewBroker(t), newIdle, racecartest.WithSpec(words)).FailNext(1, nil)
		},
		`the test ended: there is no message in topic "none" for group "g" to consume`: func(tb testing.TB) { racecartest.NewBroker(tb).WaitConsumed("g", "none") },
	} {
		f := &trial{TB: ended{t}}
		f.run(func() { does(f) })
		if f.failure != want {
			t.Errorf("%q, want %q", f.failure, want)
		}
	}
}
