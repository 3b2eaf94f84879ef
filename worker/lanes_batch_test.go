package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// batchFunc is a consumer of batches.
type batchFunc func(context.Context, []*racecar.Message) error

func (f batchFunc) ProcessBatch(ctx context.Context, ms []*racecar.Message) error { return f(ctx, ms) }

func registerBatch(t testing.TB, topic string, f batchFunc) *racecar.Registration {
	spec := subscribed(topic)
	spec.Name = fmt.Sprintf("%s-%d", t.Name(), registrations.Add(1))
	racecar.Register(func(racecar.Runtime) (batchFunc, error) { return f, nil }, spec)
	return registered.Lookup(spec.Name)
}

// Batches that run at the same time share no key, hold the messages of a key in order, and
// none is lost or repeated but for failures.
func TestBatchesOfKeys(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	const n = 2000
	produceWithKeys(t, b, topic, 0, n, append(keyNames(20), "", "")...)
	var mu sync.Mutex
	hand := map[string]int{}
	last := map[string]int64{}
	finished := map[int64]int{}
	failures, most, several := 0, 0, 0
	tries := map[int64]int{}
	reg := registerBatch(t, topic, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		keys := map[string]int{}
		for i, m := range ms {
			if i > 0 && ms[i-1].Offset >= m.Offset {
				t.Errorf("a batch has %d behind %d", m.Offset, ms[i-1].Offset)
			}
			if m.Key != nil {
				keys[string(m.Key)]++
			}
		}
		for key, times := range keys {
			if hand[key]++; hand[key] > 1 {
				t.Errorf("key %q is in two batches", key)
			}
			several = max(several, times)
		}
		most = max(most, len(ms))
		mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		for key := range keys {
			hand[key]--
		}
		for i, m := range ms {
			if m.Key != nil && last[string(m.Key)] > m.Offset {
				t.Errorf("key %q: %d after %d", m.Key, m.Offset, last[string(m.Key)])
			}
			if tries[m.Offset]++; m.Offset%100 == 7 && tries[m.Offset] <= 2 {
				failures++
				return racecar.FailedAt(i, errors.New("bad"))
			}
			if m.Key != nil {
				last[string(m.Key)] = m.Offset
			}
			finished[m.Offset]++
		}
		return nil
	})
	cfg := laneConfig(b, group, 4)
	cfg.FetchMessages, cfg.PauseTimeout = 30, time.Millisecond
	s := start(t, reg, cfg)
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == n })
	s.stop()
	for offset := range int64(n) {
		if finished[offset] != 1 {
			t.Errorf("%d was finished %d times", offset, finished[offset])
		}
	}
	if failures != 40 || most > 30 || most < 10 || several < 2 {
		t.Errorf("%d failures, at most %d messages in a batch, %d of one key", failures, most, several)
	}
}

// A batch that fails is called again whole; when its retries are used up its messages are
// called one by one, so that the bad one alone goes to the dead-letter topic.
func TestBatchesOfKeysThatFailWhole(t *testing.T) {
	b := testbroker.New(t)
	topic, group, dead := b.Topic(1), b.Group(), b.Topic(1)
	const n = 100
	produceWithKeys(t, b, topic, 0, n, keyNames(20)...)
	var mu sync.Mutex
	finished := map[int64]int{}
	var sizes []int
	reg := registerBatch(t, topic, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if slices.ContainsFunc(ms, func(m *racecar.Message) bool { return m.Offset == 37 }) {
			sizes = append(sizes, len(ms))
			return errors.New("bad")
		}
		for _, m := range ms {
			finished[m.Offset]++
		}
		return nil
	})
	cfg := laneConfig(b, group, 3)
	cfg.FetchMessages, cfg.PauseTimeout, cfg.MaxRetries, cfg.DeadLetterTopic = 10, time.Millisecond, 2, dead
	s := start(t, reg, cfg)
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == n })
	s.stop()
	if len(finished) != n-1 || finished[37] != 0 {
		t.Errorf("%d messages were finished, the bad one %d times", len(finished), finished[37])
	}
	if len(sizes) != 4 || sizes[0] < 2 || sizes[0] != sizes[1] || sizes[1] != sizes[2] || sizes[3] != 1 {
		t.Errorf("the bad message was in batches of %v", sizes)
	}
	rec := newRecorder()
	s = start(t, one(t, dead, func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }), testConfig(b, b.Group()))
	rec.await(t, 1)
	s.stop()
}

// A suspect is called with nothing beside it, and one that has killed its process too often
// pauses its key alone.
func TestSuspectsInLanes(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	const n = 200
	produceWithKeys(t, b, topic, 0, n, keyNames(10)...)
	l := newLaneLog(t)
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		if m.Offset == 55 {
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.hand) != 1 {
				t.Errorf("the suspect has %d beside it", len(l.hand)-1)
			}
		}
		return nil
	}
	s := start(t, l.register(subscribed(topic)), laneConfig(b, group, 8), func(o *Options) {
		o.Handshake.Suspects = []wire.Suspect{
			{Topic: topic, FirstOffset: 55, LastOffset: 55, Deaths: 1},
			{Topic: topic, FirstOffset: 23, LastOffset: 23, Deaths: wire.PoisonedAfter},
		}
	})
	poisoned := n - (n-23+9)/10 // all of its key behind it wait
	l.await("all others", func() bool { return l.done == poisoned })
	waitFor(t, "the status to show it", func() bool {
		p := s.status().Partitions[0]
		return p.WaitingKeys == 1 && p.Position == 23
	})
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}})
	l.await("the poisoned one, once it is resumed", func() bool { return l.done == n })
	s.stop()
	l.want(topicPartition{topic, 0}, n)
}

// What waits behind a failing key is bounded, and fetched again when its turn comes.
func TestHeldMessagesAreFetchedAgain(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	const n = 3000
	var keys []string
	for range 3 {
		keys = append(keys, "failing", "x", "failing", "y", "z")
	}
	produceWithKeys(t, b, topic, 0, n, keys...)
	l := newLaneLog(t)
	failing := make(chan struct{})
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		if string(m.Key) != "failing" {
			return nil
		}
		if want := fmt.Sprint("value-", m.Offset); string(m.Value) != want {
			t.Errorf("%d has the value %q", m.Offset, m.Value)
		}
		select {
		case <-failing:
			return nil
		default:
			return errors.New("down")
		}
	}
	cfg := laneConfig(b, group, 4)
	cfg.MaxBytes, cfg.PauseTimeout = 1<<20, config.PauseForever
	s := start(t, l.register(subscribed(topic)), cfg)
	l.await("all others", func() bool { return l.done == n*3/5 })
	close(failing)
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}})
	l.await("those of the failing key", func() bool { return l.done == n })
	s.stop()
	l.want(topicPartition{topic, 0}, n)
}
