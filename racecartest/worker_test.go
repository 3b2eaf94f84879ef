package racecartest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/racecartest"
)

// upper copies words from one topic to another.
type upper struct {
	out  racecar.Producer
	seen *seen
}

type seen struct {
	mu    sync.Mutex
	words []string
	torn  int
}

func (s *seen) add(m *racecar.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words = append(s.words, string(m.Value))
}

func (s *seen) sorted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.words))
}

func (u *upper) Process(ctx context.Context, m *racecar.Message) error {
	u.seen.add(m)
	if string(m.Value) == "stop" {
		return racecar.Fatal(errors.New("told to stop"))
	}
	return u.out.Produce(ctx, racecar.ProducerMessage{Topic: "out", Value: m.Value})
}

func (u *upper) Teardown(context.Context) error {
	u.seen.mu.Lock()
	defer u.seen.mu.Unlock()
	u.seen.torn++
	return nil
}

func newUpper(s *seen) func(racecar.Runtime) (*upper, error) {
	return func(rt racecar.Runtime) (*upper, error) { return &upper{rt.Producer, s}, nil }
}

var words = racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "words"}}}

func numbered(n int) []racecar.ProducerMessage {
	all := make([]racecar.ProducerMessage, n)
	for i := range all {
		all[i] = racecar.ProducerMessage{Topic: "words", Value: fmt.Appendf(nil, "w%03d", i)}
	}
	return all
}

func TestRunWorker(t *testing.T) {
	b := racecartest.NewBroker(t)
	s := &seen{}
	w := racecartest.RunWorker(t, b, newUpper(s), racecartest.WithSpec(words))
	b.Produce(numbered(50)...)
	w.WaitProcessed(50)
	b.WaitConsumed("upper", "words")
	if n := len(b.WaitMessages("out", 50)); n != 50 {
		t.Errorf("%d messages came out, want 50", n)
	}
	w.Stop()
	if s.torn != 1 {
		t.Errorf("torn down %d times", s.torn)
	}
	if n := b.Members("upper"); n != 0 {
		t.Errorf("%d members are left in the group", n)
	}
	w.Stop() // does nothing
}

func TestFailNext(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 1)
	s := &seen{}
	w := racecartest.RunWorker(t, b, newUpper(s), racecartest.WithSpec(words))
	w.FailNext(2, errors.New("no such luck"))
	b.Produce(numbered(3)...)
	w.WaitProcessed(3)
	e := racecartest.WaitFor(w, func(e event.ProcessMessage) bool { return e.Message.Offset == 0 && e.Err == nil })
	if e.Message.Retries != 2 {
		t.Errorf("processed after %d retries, want 2", e.Message.Retries)
	}
	if got := s.sorted(); !slices.Equal(got, []string{"w000", "w001", "w002"}) {
		t.Errorf("the consumer saw %v", got)
	}
}

func TestFailNextOfABatch(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 1)
	b.Produce(numbered(5)...)
	calls := 0
	spec := words
	spec.Name, spec.MaxRetries = "Batches", 1
	w := racecartest.RunWorker(t, b, func(racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(_ context.Context, batch []*racecar.Message) error { calls++; return nil }, nil
	}, racecartest.WithSpec(spec))
	w.FailNext(1, racecar.FailedAt(4, racecar.DeadLetter(errors.New("the last one"))))
	dead := racecartest.WaitFor[event.DeadLetter](w, nil)
	b.WaitConsumed("batches", "words")
	w.Stop()
	if dead.Message.Offset != 4 || calls > 1 {
		t.Errorf("offset %d was dead-lettered after %d calls", dead.Message.Offset, calls)
	}
}

// Every message that is done counts: processed, skipped or dead-lettered.
func TestWaitProcessedCountsAllDoneMessages(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 1)
	b.Produce(numbered(5)...)
	spec := words
	spec.Name, spec.MaxRetries = "Done", 1
	w := racecartest.RunWorker(t, b, func(racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(_ context.Context, batch []*racecar.Message) error {
			switch batch[0].Offset {
			case 0:
				return racecar.FailedAt(2, racecar.Skip(errors.New("skipped")))
			case 3:
				return racecar.FailedAt(1, racecar.DeadLetter(errors.New("dead-lettered")))
			}
			return nil
		}, nil
	}, racecartest.WithSpec(spec))
	w.WaitProcessed(5)
	b.WaitConsumed("done", "words")
}

func TestRebalance(t *testing.T) {
	for _, strategy := range []string{"range", "cooperative-sticky"} {
		t.Run(strategy, func(t *testing.T) {
			b := racecartest.NewBroker(t)
			s := &seen{}
			w := racecartest.RunWorker(t, b, newUpper(s), racecartest.WithSpec(words), racecartest.WithConfig(func(c *racecar.Config) {
				c.PartitionAssignmentStrategy = []string{strategy}
			}))
			b.Produce(numbered(20)...)
			w.WaitProcessed(20)
			w.Rebalance()
			b.Produce(numbered(20)...)
			w.WaitProcessed(40)
			w.Rebalance()
			w.Stop()
			if n := len(s.sorted()); n != 40 {
				t.Errorf("%d messages processed, want each once: 40", n)
			}
		})
	}
}

func TestWorkerThatEndsByItself(t *testing.T) {
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, newUpper(&seen{}), racecartest.WithSpec(words))
	b.Produce(racecar.ProducerMessage{Topic: "words", Value: []byte("stop")})
	if err := w.Wait(); err == nil || err.Error() != "told to stop" {
		t.Errorf("ended with %v", err)
	}
}

func TestConstructorThatFails(t *testing.T) {
	w := racecartest.RunWorker(t, racecartest.NewBroker(t), func(racecar.Runtime) (*upper, error) {
		return nil, racecar.Fatal(errors.New("no database"))
	}, racecartest.WithSpec(words))
	if err := w.Wait(); err == nil || err.Error() != "constructor of upper: no database" {
		t.Errorf("ended with %v", err)
	}
}

// Events of every kind can be waited for.
func TestWaitForStarts(t *testing.T) {
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, newUpper(&seen{}), racecartest.WithSpec(words))
	b.Produce(numbered(1)...)
	if e := racecartest.WaitFor[event.StartProcessMessage](w, nil); string(e.Message.Value) != "w000" {
		t.Errorf("%q", e.Message.Value)
	}
}

// Rebalance may be called before the worker has joined its group.
func TestRebalanceAtOnce(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 4)
	w := racecartest.RunWorker(t, b, newUpper(&seen{}), racecartest.WithSpec(words))
	w.Rebalance()
	b.Produce(numbered(4)...)
	w.WaitProcessed(4)
}
