package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/worker/lanes"
)

// A message of a batch that dead_letter_limit holds is not finished with those before it.
func TestHeldMessageOfABatchIsNotFinished(t *testing.T) {
	b := testbroker.New(t)
	topic, group, dead := b.Topic(1), b.Group(), b.Topic(1)
	b.Produce(topic, 0, values(3)...)
	var mu sync.Mutex
	var away, failures = true, 0
	tries, finished := map[int64]int{}, map[int64]int{}
	reg := registerBatch(t, topic, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		for i, m := range ms {
			if tries[m.Offset]++; away && (tries[m.Offset] == 1 || m.Offset != 1) {
				failures++
				return racecar.FailedAt(i, errors.New("down"))
			}
			finished[m.Offset]++
		}
		return nil
	})
	cfg := laneConfig(b, group, 1)
	cfg.FetchMessages, cfg.PauseTimeout, cfg.MaxRetries = 10, config.PauseForever, 1
	cfg.DeadLetterTopic, cfg.DeadLetterLimit = dead, 1
	s := start(t, reg, cfg)
	await := func(n int) {
		waitFor(t, "failures", func() bool { mu.Lock(); defer mu.Unlock(); return failures == n })
	}
	await(3)
	waitFor(t, "all to wait", func() bool { return s.status().Partitions[0].WaitingKeys == 3 })
	resume := wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}}
	s.command(resume)
	await(5) // 0 goes to the dead-letter topic, 1 is finished by the call in which 2 fails, which is held
	waitFor(t, "the position", func() bool { return b.Committed(group, topic, 0) >= 2 })
	if c := b.Committed(group, topic, 0); c != 2 {
		t.Errorf("committed %d although the message at 2 is not finished", c)
	}
	waitFor(t, "the held one to wait", func() bool { return s.status().Partitions[0].WaitingKeys == 1 })
	mu.Lock()
	away = false
	mu.Unlock()
	s.command(resume)
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == 3 })
	s.stop()
	if finished[0] != 0 || finished[1] != 1 || finished[2] != 1 {
		t.Errorf("finished %v", finished)
	}
}

// loneLanes is a partition in lanes that nobody serves, and what it is read from.
func loneLanes(t *testing.T, batches ...[]byte) (*laneRunner, *fakeSource) {
	t.Helper()
	w, m := loneWorker(t)
	w.cfg.Ordering, w.cfg.Concurrency = config.OrderingKey, 2
	p := m.claim(topicPartition{"t", 0})
	p.inst = w.bareInstance(nil)
	c, source := testCursor(batches...)
	p.cursor = *c
	p.begin(0, 0)
	p.runInLanes(0, offsetmap.Metadata{})
	return p.lanes, source
}

// finish finishes the next n messages.
func (r *laneRunner) finish(n int) {
	for range n {
		r.lanes.Finish(r.lanes.Next(r.t.clock.now()))
	}
}

// A log that is cut off still has what comes before: messages there that wait are called
// again, and those that are finished are not.
func TestTruncationSkipsNothingThatWaits(t *testing.T) {
	r, source := loneLanes(t, rawBatch(0, 10, false))
	r.t.concurrency = 100
	r.read()
	m := r.lanes.Next(r.t.clock.now())
	m.Attempts = 3
	r.fail([]*lanes.Message{m}, lanes.Wait{}, false)
	r.finish(4) // 1 to 4
	r.p.cursor.moved = &fetch.Moved{From: 10, To: 7, Reason: fetch.Truncated}
	r.read()
	if offset, finished, failing := r.lanes.Commit(); offset != 0 || !slices.Equal(finished, offsetmap.Set{{First: 1, Next: 5}}) ||
		!slices.Equal(failing, []offsetmap.Failing{{Offset: 0, Attempts: 3}}) {
		t.Errorf("commits %d with %v finished and %v failing", offset, finished, failing)
	}
	if !slices.Equal(source.sought, []int64{0}) {
		t.Errorf("sought %v", source.sought)
	}
	r.read()
	var again []int64
	for m := r.lanes.Next(r.t.clock.now()); m != nil; m = r.lanes.Next(r.t.clock.now()) {
		again = append(again, m.Offset)
	}
	if !slices.Equal(again, []int64{0, 5, 6, 7, 8, 9}) {
		t.Errorf("called: %v", again)
	}
}

// Messages are called alone for a while only, also if the oldest one then waits for ever.
func TestOldestMessageThatWaitsHoldsUpNoOther(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	const n = 20
	produceWithKeys(t, b, topic, 0, n, keyNames(n)...)
	commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;2") // two claims did not end
	l := newLaneLog(t)
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		if m.Offset == 0 {
			return errors.New("bad")
		}
		return nil
	}
	clock := newTestClock()
	cfg := laneConfig(b, group, 4)
	cfg.PauseTimeout = config.PauseForever
	s := start(t, l.register(subscribed(topic)), cfg, func(o *Options) { o.clock = clock.clock() })
	l.await("the failure", func() bool { return l.failures == 1 })
	waitFor(t, "all others", func() bool {
		clock.move(time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.done == n-1
	})
	s.stop()
}

// Output of a goroutine that a failed call has left behind may fail without anything to be
// called again for it.
func TestOutputLeftBehindByAFailedCall(t *testing.T) {
	b := testbroker.New(t)
	topic, group, bad := b.Topic(1), b.Group(), b.Topic(1)+".bad"
	b.CreateTopicWith(bad, 1, map[string]string{"max.message.bytes": "50"})
	produceWithKeys(t, b, topic, 0, 3, keyNames(3)...)
	l := newLaneLog(t)
	var out atomic.Pointer[processor]
	var left atomic.Bool
	l.handle = func(_ context.Context, p *processor, m *racecar.Message) error {
		if m.Retries == 0 {
			out.Store(p)
			return errors.New("bad")
		}
		return nil
	}
	cfg := laneConfig(b, group, 1)
	cfg.PauseTimeout = time.Millisecond
	s := start(t, l.register(subscribed(topic)), cfg, func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if call, ok := e.(event.ProcessMessage); ok && call.Err != nil {
				left.Store(true)
				_ = out.Load().out.Produce(context.Background(), racecar.ProducerMessage{Topic: bad, Value: make([]byte, 100)})
			}
		}
	})
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == 3 })
	if code := s.stop(); code != wire.ExitOK || !left.Load() {
		t.Errorf("exit code %d", code)
	}
	l.want(topicPartition{topic, 0}, 3)
}

// A call can be cancelled from the moment that others know of it.
func TestLaneTasksCanBeCancelled(t *testing.T) {
	r, _ := loneLanes(t, rawBatch(0, 1, false))
	r.read()
	cancelled := false
	r.w.opts.Emit = func(e racecar.Event) {
		if _, ok := e.(event.Poisoned); ok {
			r.t.change(func() { r.cancel(errOverdue, func(int64) bool { cancelled = true; return true }) })
		}
	}
	r.w.suspects.set([]wire.Suspect{{Topic: "t", Deaths: wire.PoisonedAfter}})
	r.t.change(func() {
		r.t.busy++
		r.begin(r.t)
	})
	r.run(&executor{w: r.w, t: r.t}, true)
	if _, waits := r.lanes.First().Wait(); !cancelled || !waits {
		t.Errorf("cancelled %v, waits %v", cancelled, waits)
	}
}
