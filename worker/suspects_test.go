package worker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A suspect is called with nothing beside it, and the board says so.
func TestSuspectsAreCalledAlone(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(4), b.Group()
	for p := range int32(4) {
		b.Produce(topic, p, values(50)...)
	}
	f, board, err := scoreboard.Create(4)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var running, beside atomic.Int32
	var shown atomic.Bool
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			running.Add(1)
			defer running.Add(-1)
			if m.Partition == 2 && m.Offset == 30 {
				for _, c := range board.InHand() {
					if c.Partition == 2 && c.FirstOffset == 30 && c.Alone {
						shown.Store(true)
					}
				}
				for range 20 { // whoever would begin now would be seen
					<-time.After(time.Millisecond) // what the message takes
					beside.Add(running.Load() - 1)
				}
			}
			rec.add(m)
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.Concurrency = 4
	s := start(t, reg, cfg, func(o *Options) {
		o.Board = board
		o.Handshake.Suspects = []wire.Suspect{{Topic: topic, Partition: 2, FirstOffset: 30, LastOffset: 30, Deaths: 1}}
	})
	rec.await(t, 200)
	s.stop()
	if n := beside.Load(); n != 0 {
		t.Errorf("something ran beside the suspect (%d sightings)", n)
	}
	if !shown.Load() {
		t.Error("the board does not say that it is alone")
	}
}

// A batch with suspects in it is called message by message there.
func TestSuspectsInABatch(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(20)...)
	var mu sync.Mutex
	var sizes []int
	n := 0
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(ms))
		n += len(ms)
		return nil
	})
	s := start(t, reg, testConfig(b, group), func(o *Options) {
		o.Handshake.Quiet = true // so that all is there when it begins
		o.Handshake.Suspects = []wire.Suspect{{Topic: topic, Partition: 0, FirstOffset: 5, LastOffset: 7}}
	})
	waitFor(t, "the messages", func() bool { r := s.status(); return len(r.Partitions) == 1 && r.Partitions[0].End == 20 })
	s.command(wire.Command{Kind: wire.CommandContinue})
	waitFor(t, "all of it", func() bool { mu.Lock(); defer mu.Unlock(); return n == 20 })
	s.stop()
	if want := []int{5, 1, 1, 1, 12}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
}

// A message that killed its process three times goes to the dead-letter topic
// without being called, or its partition is paused until an operator resumes it.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, deadLetterTopic := range []bool{true, false} {
		b := testbroker.New(t)
		topic, group := b.Topic(2), b.Group()
		b.Produce(topic, 0, values(10)...)
		b.Produce(topic, 1, values(10)...)
		rec := newRecorder()
		var mu sync.Mutex
		var poisoned []event.Poisoned
		cfg := testConfig(b, group)
		if deadLetterTopic {
			cfg.DeadLetterTopic = group + ".dead"
			b.CreateTopic(cfg.DeadLetterTopic, 1)
		}
		s := start(t, one(t, topic, recording(rec)), cfg, func(o *Options) {
			o.Handshake.Suspects = []wire.Suspect{{Topic: topic, Partition: 0, FirstOffset: 4, LastOffset: 4, Deaths: wire.PoisonedAfter, Reason: "signal: killed"}}
			o.Emit = func(e racecar.Event) {
				if e, ok := e.(event.Poisoned); ok {
					mu.Lock()
					defer mu.Unlock()
					poisoned = append(poisoned, e)
				}
			}
		})
		if deadLetterTopic {
			rec.await(t, 19)
			m := readAll(t, b, cfg.DeadLetterTopic, 1)[0]
			if string(m.Value) != "value-4" || !strings.Contains(header(m, "racecar-dlq-error"), "signal: killed") || header(m, "racecar-dlq-attempts") != "3" {
				t.Errorf("dead letter %q with %v", m.Value, m.Headers)
			}
		} else {
			rec.await(t, 14)
			waitFor(t, "the poisoned state", func() bool {
				r := s.status()
				return r.Partitions[0].State == status.PartitionPoisoned && strings.Contains(r.Partitions[0].Reason, "killed")
			})
			s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: 0}}})
			rec.await(t, 20)
		}
		waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 10 })
		s.stop()
		if got := rec.offsets(topicPartition{topic, 0}); slices.Contains(got, 4) == deadLetterTopic {
			t.Errorf("dead-letter topic %v: processed %v", deadLetterTopic, got)
		}
		if len(poisoned) != 1 || poisoned[0].Offset != 4 || poisoned[0].Deaths != 3 {
			t.Errorf("events %+v", poisoned)
		}
	}
}

// pause and resume of an operator, while running.
func TestOperatorPauses(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	rec := newRecorder()
	s := start(t, one(t, topic, recording(rec)), testConfig(b, group))
	s.running()
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: []wire.Partition{{Topic: topic, Partition: -1}}})
	b.Produce(topic, 0, values(10)...)
	b.Produce(topic, 1, values(10)...)
	waitFor(t, "the messages", func() bool {
		r := s.status()
		return r.Partitions[0].End == 10 && r.Partitions[1].End == 10 && r.Partitions[0].State == status.PartitionPaused
	})
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: 1}}})
	rec.await(t, 10)
	if got := rec.offsets(topicPartition{topic, 0}); len(got) != 0 {
		t.Errorf("processed while paused: %v", got)
	}
	s.command(wire.Command{Kind: wire.CommandQuiet})
	s.await("quiet", func() bool { return s.frame.State == status.Quiet })
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: -1}}})
	s.command(wire.Command{Kind: wire.CommandContinue})
	rec.await(t, 20)
	s.stop()
}

// A suspect that is the first message of its claim is not called beside others either: it is
// found in a quantum that others may share, and called in the next one.
func TestSuspectAtTheBeginningIsCalledAlone(t *testing.T) {
	w, m := loneWorker(t)
	w.scheduler.concurrency = 2
	w.suspects.set([]wire.Suspect{{Topic: "t", Partition: 0, FirstOffset: 3, LastOffset: 3, Deaths: 1}})
	var called []int64
	p := m.claim(topicPartition{"t", 0})
	p.begin(3, 0)
	p.inst = w.bareInstance(nil)
	p.inst.single = &processor{process: func(_ context.Context, m *racecar.Message) error {
		called = append(called, m.Offset)
		return nil
	}}
	c, _ := testCursor(rawBatch(3, 2, false))
	w.scheduler.opened(p, c.source)
	p.cursor.from = 3
	w.scheduler.add(p)
	w.scheduler.available(p)
	e := &executor{w: w, t: w.scheduler, board: w.board}
	for _, want := range []struct {
		alone  bool
		called []int64
	}{{false, nil}, {true, []int64{3}}, {false, []int64{3, 4}}} {
		got, alone := w.scheduler.take()
		e.serve(got, alone)
		if alone != want.alone || !slices.Equal(called, want.called) {
			t.Errorf("alone %v, called %v, want %+v", alone, called, want)
		}
	}
}
