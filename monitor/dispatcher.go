package monitor

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/sirupsen/logrus"
)

// queueSize is how many events a subscriber may lag behind before some are lost
// for it.
const queueSize = 4096

// lossInterval is how often a subscriber that is too slow is complained about.
const lossInterval = time.Minute

// dispatcher hands events to the subscribers of racecar.Observe, each on a
// goroutine of its own: one that panics is called again with the next event,
// one that blocks misses events, and neither holds up a message.
type dispatcher struct {
	subscribers []*subscriber
	wg          sync.WaitGroup
}

type subscriber struct {
	f     func(racecar.Event)
	index int // in order of registration: they have no names
	log   logrus.FieldLogger
	queue chan racecar.Event
	lost  atomic.Uint64
}

func newDispatcher(subscribers []func(racecar.Event), log logrus.FieldLogger) *dispatcher {
	d := &dispatcher{}
	for i, f := range subscribers {
		s := &subscriber{f: f, index: i, log: log, queue: make(chan racecar.Event, queueSize)}
		d.subscribers = append(d.subscribers, s)
		d.wg.Go(s.run)
	}
	return d
}

// emit queues e for each subscriber; it never blocks. Not to be called after close.
func (d *dispatcher) emit(e racecar.Event) {
	for _, s := range d.subscribers {
		select {
		case s.queue <- e:
		default:
			s.lost.Add(1)
		}
	}
}

// close lets the subscribers have what is queued and waits for them, bounded by
// ctx; one that blocks for ever is left behind.
func (d *dispatcher) close(ctx context.Context) {
	for _, s := range d.subscribers {
		close(s.queue)
	}
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		for _, s := range d.subscribers {
			if left := len(s.queue); left > 0 {
				s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": left}).Warn("Subscriber to events did not take all before the end")
			}
		}
	}
}

func (s *subscriber) run() {
	var complained time.Time
	for e := range s.queue {
		s.call(e)
		if lost := s.lost.Load(); lost > 0 && time.Since(complained) >= lossInterval {
			complained = time.Now()
			s.lost.Add(-lost)
			s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": lost}).Warn("Subscriber to events is too slow, some were lost for it")
		}
	}
}

func (s *subscriber) call(e racecar.Event) {
	defer func() {
		if p := recover(); p != nil {
			s.log.WithFields(logrus.Fields{"subscriber": s.index, "event": e.EventName(), "panic": p, "stack": string(debug.Stack())}).
				Error("Subscriber to events panicked")
		}
	}()
	s.f(e)
}
