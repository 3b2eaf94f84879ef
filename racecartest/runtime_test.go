package racecartest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// echo produces what it is given and keeps a diary.
type echo struct {
	out   racecar.Producer
	diary *[]string
}

func (e echo) note(s string) { *e.diary = append(*e.diary, s) }

func (e echo) Process(ctx context.Context, m *racecar.Message) error {
	e.note("process " + string(m.Value))
	switch string(m.Value) {
	case "bad":
		return racecar.Skip(errors.New("bad"))
	case "late":
		return racecar.RetryAfter(errors.New("late"), time.Minute)
	}
	return e.out.Produce(ctx, racecar.ProducerMessage{Topic: "out", Value: m.Value})
}
func (e echo) OnPartitionsAssigned(_ context.Context, a racecar.Assignment) {
	if cmp.Equal(a.Partitions, map[string][]int32{"in": {0, 1}}) {
		e.note("assigned")
	}
}
func (e echo) OnPartitionsRevoked(context.Context, racecar.Assignment) { e.note("revoked") }
func (e echo) Teardown(context.Context) error {
	e.note("teardown")
	return errors.New("stuck door")
}

func TestRun(t *testing.T) {
	var diary []string
	result := racecartest.Run(t, func(rt racecar.Runtime) (echo, error) { return echo{rt.Producer, &diary}, nil }, []*racecar.Message{
		{Topic: "in", Partition: 1, Value: []byte("one")},
		{Topic: "in", Value: []byte("bad")},
		{Topic: "in", Value: []byte("late")},
		{Topic: "in", Value: []byte("two")},
	})
	if d := cmp.Diff([]string{"assigned", "process one", "process bad", "process late", "process two", "revoked", "teardown"}, diary); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]racecar.ProducerMessage{{Topic: "out", Value: []byte("one")}, {Topic: "out", Value: []byte("two")}}, result.Produced); d != "" {
		t.Error(d)
	}
	if got := verdicts(result); !slices.Equal(got, []racecartest.Verdict{racecartest.Processed, racecartest.Skipped, racecartest.Retried, racecartest.Processed}) {
		t.Errorf("verdicts %v", got)
	}
	if err := result.Err(); err == nil || err.Error() != "message 1: bad\nmessage 2: late\nteardown: stuck door" {
		t.Errorf("error %v", err)
	}
}

func verdicts(r racecartest.Result) []racecartest.Verdict {
	var all []racecartest.Verdict
	for _, err := range r.Errors {
		all = append(all, racecartest.VerdictOf(err))
	}
	return all
}

func TestRunOfABatchProcessor(t *testing.T) {
	var sizes []int
	result := racecartest.Run(t, func(racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(_ context.Context, batch []*racecar.Message) error {
			sizes = append(sizes, len(batch))
			for i, m := range batch {
				if string(m.Value) == "bad" {
					return racecar.FailedAt(i, racecar.DeadLetter(errors.New("bad")))
				}
			}
			return nil
		}, nil
	}, []*racecar.Message{
		{Topic: "a", Value: []byte("1")},
		{Topic: "a", Value: []byte("bad")},
		{Topic: "a", Value: []byte("3")},
		{Topic: "a", Partition: 1},
		{Topic: "b", Partition: 1},
	})
	if !slices.Equal(sizes, []int{3, 1, 1, 1}) {
		t.Errorf("batches of %v", sizes)
	}
	if got := verdicts(result); !slices.Equal(got, []racecartest.Verdict{racecartest.Processed, racecartest.DeadLettered, racecartest.Processed, racecartest.Processed, racecartest.Processed}) {
		t.Errorf("verdicts %v", got)
	}
}

func TestVerdictOf(t *testing.T) {
	cause := errors.New("cause")
	for _, tc := range []struct {
		err  error
		want racecartest.Verdict
	}{
		{nil, racecartest.Processed},
		{cause, racecartest.Retried},
		{racecar.RetryAfter(cause, time.Second), racecartest.Retried},
		{racecar.Skip(cause), racecartest.Skipped},
		{racecar.DeadLetter(cause), racecartest.DeadLettered},
		{racecar.Fatal(cause), racecartest.Fatal},
		{racecar.Unavailable(cause), racecartest.Held},
		{racecar.FailedAt(3, racecar.Unavailable(cause, "db")), racecartest.Held},
		{racecar.RetryAfter(racecar.Unavailable(cause), time.Second), racecartest.Held},
		{racecar.FailedAt(3, racecar.Skip(cause)), racecartest.Skipped},
		{racecar.FailedAt(3, cause), racecartest.Retried},
	} {
		if got := racecartest.VerdictOf(tc.err); got != tc.want {
			t.Errorf("%#v: %s, want %s", tc.err, got, tc.want)
		}
	}
	if d, ok := racecartest.RetryAfter(racecar.RetryAfter(cause, time.Second)); !ok || d != time.Second {
		t.Errorf("retry after %v, %v", d, ok)
	}
	if _, ok := racecartest.RetryAfter(cause); ok {
		t.Error("a plain error asks for a pause of its own")
	}
	if d, ok := racecartest.RetryAfter(racecar.RetryAfter(racecar.Unavailable(cause), time.Second)); !ok || d != time.Second {
		t.Errorf("the next probe is after %v, %v", d, ok)
	}
	for err, want := range map[error]string{nil: "none", cause: "none", racecar.Skip(racecar.Unavailable(cause, "db")): "none", racecar.Unavailable(cause): "", racecar.FailedAt(1, racecar.Unavailable(cause, "db")): "db"} {
		name, ok := racecartest.Dependency(err)
		if !ok {
			name = "none"
		}
		if name != want {
			t.Errorf("%v needs %q, want %q", err, name, want)
		}
	}
}

func TestRuntime(t *testing.T) {
	rt := racecartest.Runtime(t)
	rt.Logger.Info("to the test's log")
	if err := rt.Producer.Produce(t.Context(), racecar.ProducerMessage{Topic: "x"}); err != nil {
		t.Error(err)
	}
	if err := rt.Producer.Deliver(t.Context()); err != nil {
		t.Error(err)
	}
	if err := rt.Producer.Produce(t.Context(), racecar.ProducerMessage{}); err == nil || !strings.Contains(err.Error(), "no topic is set") {
		t.Errorf("a message without topic: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rt.Producer.Produce(ended, racecar.ProducerMessage{Topic: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("in an ended call: %v", err)
	}
	if n := len(racecartest.Produced(rt)); n != 1 {
		t.Errorf("%d messages recorded, want 1", n)
	}
	if rt.Config.MaxPollInterval == 0 || rt.Worker.Group == "" {
		t.Errorf("incomplete: %+v", rt)
	}
}
