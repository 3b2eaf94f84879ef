package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestWordCountConsumer(t *testing.T) {
	result := racecartest.Run(t, NewWordCountConsumer, []*racecar.Message{
		{Value: []byte("the cat and the dog")},
		{Value: []byte("The end")},
	})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, m := range result.Produced {
		add(t, counts, m.Key, m.Value)
	}
	if want := map[string]int{"the": 3, "cat": 1, "and": 1, "dog": 1, "end": 1}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", counts, want)
	}
}

// stumbling fails in every third call, after it has produced.
type stumbling struct {
	*WordCountConsumer
	calls int
}

func (s *stumbling) ProcessBatch(ctx context.Context, lines []*racecar.Message) error {
	if err := s.WordCountConsumer.ProcessBatch(ctx, lines); err != nil {
		return err
	}
	if s.calls++; s.calls%3 == 2 {
		return errors.New("told to fail")
	}
	return nil
}

// The sums are right even when calls fail, the group rebalances and a worker is replaced.
func TestEachLineCountsOnce(t *testing.T) {
	const lines, group = 300, "stumbling"
	spec := Spec
	spec.GroupID, spec.PauseTimeout = group, racecar.NoPause
	newConsumer := func(rt racecar.Runtime) (*stumbling, error) {
		c, err := NewWordCountConsumer(rt)
		return &stumbling{WordCountConsumer: c}, err
	}
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, newConsumer, racecartest.WithSpec(spec))
	for i := range lines {
		switch i {
		case lines / 3:
			w.Rebalance()
		case 2 * lines / 3:
			b.WaitConsumed(group, "lines")
			w.Stop()
			w = racecartest.RunWorker(t, b, newConsumer, racecartest.WithSpec(spec))
		}
		b.Produce(racecar.ProducerMessage{Topic: "lines", Value: fmt.Appendf(nil, "line %d", i)})
	}
	b.WaitConsumed(group, "lines")
	w.Stop()
	counts := map[string]int{}
	for _, m := range b.Messages("word-counts") {
		add(t, counts, m.Key, m.Value)
	}
	if counts["line"] != lines || len(counts) != lines+1 {
		t.Errorf("%d times \"line\" and %d other words, want %d of both", counts["line"], len(counts)-1, lines)
	}
}

func add(t *testing.T, counts map[string]int, word, n []byte) {
	t.Helper()
	times, err := strconv.Atoi(string(n))
	if err != nil {
		t.Fatal(err)
	}
	counts[string(word)] += times
}
