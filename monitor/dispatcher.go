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

// lossInterval is how often a subscriber that is too slow, or panics, is complained
// about: events come with messages, and a line for each would be worse than both.
const lossInterval = time.Minute

// dispatcher hands events to the subscribers of racecar.Observe, each on a
// goroutine of its own: one that panics is called again with the next event,
// one that blocks misses events, and neither holds up a message.
type dispatcher struct {
	subscribers []*subscriber
	stop        chan struct{}
	wg          sync.WaitGroup
}

type subscriber struct {
	f     func(racecar.Event)
	index int // in order of registration: they have no names
	log   logrus.FieldLogger
	queue chan racecar.Event
	lost  atomic.Uint64

	// Of its own goroutine.
	panics   uint64 // not told of yet
	panicked time.Time
}

func newDispatcher(subscribers []func(racecar.Event), log logrus.FieldLogger) *dispatcher {
	d := &dispatcher{stop: make(chan struct{})}
	for i, f := range subscribers {
		s := &subscriber{f: f, index: i, log: log, queue: make(chan racecar.Event, queueSize)}
		d.subscribers = append(d.subscribers, s)
		d.wg.Go(func() { s.run(d.stop) })
	}
	return d
}

// emit queues e for each subscriber; it never blocks. After close it does nothing
// that anybody sees.
func (d *dispatcher) emit(e racecar.Event) {
	// The worker counts attempts in the message that it tries again; a subscriber
	// may still be looking at it.
	switch p := e.(type) {
	case racecar.StartProcessMessageEvent:
		m := *p.Message
		p.Message = &m
		e = p
	case racecar.ProcessMessageEvent:
		m := *p.Message
		p.Message = &m
		e = p
	}
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
	close(d.stop)
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

func (s *subscriber) run(stop <-chan struct{}) {
	var complained time.Time
	for {
		select {
		case e := <-s.queue:
			s.call(e)
			complained = s.complain(complained)
		case <-stop:
			for { // what is queued
				select {
				case e := <-s.queue:
					s.call(e)
				default:
					s.complain(time.Time{})
					if s.panics > 0 {
						s.log.WithFields(logrus.Fields{"subscriber": s.index, "panics": s.panics}).Error("Subscriber to events panicked, since it was last said")
					}
					return
				}
			}
		}
	}
}

// complain says how many events were lost, unless it did so a while ago.
func (s *subscriber) complain(last time.Time) time.Time {
	lost := s.lost.Load()
	if lost == 0 || time.Since(last) < lossInterval {
		return last
	}
	s.lost.Add(-lost)
	s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": lost}).Warn("Subscriber to events is too slow, some were lost for it")
	return time.Now()
}

func (s *subscriber) call(e racecar.Event) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.panics++
		if now := time.Now(); s.panicked.IsZero() || now.Sub(s.panicked) >= lossInterval {
			s.log.WithFields(logrus.Fields{"subscriber": s.index, "event": e.EventName(), "panic": p, "panics": s.panics, "stack": string(debug.Stack())}).
				Error("Subscriber to events panicked")
			s.panics, s.panicked = 0, now
		}
	}()
	s.f(e)
}
