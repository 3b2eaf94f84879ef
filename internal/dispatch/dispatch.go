// Package dispatch calls functions of a program's authors without being held up by them.
package dispatch

import (
	"context"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// queueSize is how many events a subscriber may lag behind before some are lost
// for it.
const queueSize = 4096

// lossInterval is how often a subscriber that is too slow, or panics, is complained
// about: events come with messages, and a line for each would be worse than both.
const lossInterval = time.Minute

// Event is what subscribers are called with.
type Event interface{ EventName() string }

// Dispatcher hands events to subscribers, each on a goroutine of its own: one that
// panics is called again with the next event, one that blocks misses events, and
// neither holds up whoever emits them.
type Dispatcher[E Event] struct {
	subscribers []*subscriber[E]
	stop        chan struct{}
	wg          sync.WaitGroup
}

type subscriber[E Event] struct {
	f     func(E)
	index int // in order of registration: they have no names
	log   logrus.FieldLogger
	queue chan E
	lost  atomic.Uint64

	// Of its own goroutine.
	panics   uint64 // not told of yet
	panicked time.Time
}

// New starts a Dispatcher. Close must be called, once.
func New[E Event](subscribers []func(E), log logrus.FieldLogger) *Dispatcher[E] {
	d := &Dispatcher[E]{stop: make(chan struct{})}
	for i, f := range subscribers {
		s := &subscriber[E]{f: f, index: i, log: log, queue: make(chan E, queueSize)}
		d.subscribers = append(d.subscribers, s)
		d.wg.Go(func() { s.run(d.stop) })
	}
	return d
}

// Emit queues e for each subscriber; it never blocks. After Close it does nothing
// that anybody sees.
func (d *Dispatcher[E]) Emit(e E) {
	for _, s := range d.subscribers {
		select {
		case s.queue <- e:
		default:
			s.lost.Add(1)
		}
	}
}

// Close lets the subscribers have what is queued and waits for them, bounded by
// ctx; one that blocks for ever is left behind.
func (d *Dispatcher[E]) Close(ctx context.Context) {
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

func (s *subscriber[E]) run(stop <-chan struct{}) {
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
func (s *subscriber[E]) complain(last time.Time) time.Time {
	lost := s.lost.Load()
	if lost == 0 || time.Since(last) < lossInterval {
		return last
	}
	s.lost.Add(-lost)
	s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": lost}).Warn("Subscriber to events is too slow, some were lost for it")
	return time.Now()
}

func (s *subscriber[E]) call(e E) {
	p, stack := Call(func() { s.f(e) })
	if p == nil {
		return
	}
	s.panics++
	if now := time.Now(); s.panicked.IsZero() || now.Sub(s.panicked) >= lossInterval {
		s.log.WithFields(logrus.Fields{"subscriber": s.index, "event": e.EventName(), "panic": p, "panics": s.panics, "stack": string(stack)}).
			Error("Subscriber to events panicked")
		s.panics, s.panicked = 0, now
	}
}

// Call calls f and returns what it panicked with, nil when it did not, and where.
func Call(f func()) (p any, stack []byte) {
	defer func() {
		if p = recover(); p != nil {
			stack = debug.Stack()
		}
	}()
	f()
	return nil, nil
}

// InCall reports whether the caller was called by a function that Call calls: whoever
// waits for that one would wait for itself.
func InCall() bool {
	name := runtime.FuncForPC(reflect.ValueOf(Call).Pointer()).Name()
	pcs := make([]uintptr, 1024)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if frame.Function == name {
			return true
		}
		if !more {
			return false
		}
	}
}
