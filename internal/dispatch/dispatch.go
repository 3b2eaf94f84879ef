// Package dispatch calls functions of a program's authors without waiting for them.
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

// queueSize is how many events a subscriber may be behind before it misses some.
const queueSize = 4096

// lossInterval is the shortest time between two log lines about a subscriber that is too slow or
// panics. Events come with messages, so a line for each event would do more harm.
const lossInterval = time.Minute

// Event is the argument of subscribers.
type Event interface{ EventName() string }

// Dispatcher passes events to subscribers, each on its own goroutine. A subscriber that panics is
// called again with the next event, one that blocks misses events, and neither delays the
// emitter.
type Dispatcher[E Event] struct {
	subscribers []*subscriber[E]
	stop        chan struct{}
	wg          sync.WaitGroup
}

type subscriber[E Event] struct {
	f     func(E)
	index int // in the order of registration, since subscribers have no names
	log   logrus.FieldLogger
	queue chan E
	lost  atomic.Uint64

	// Used by the subscriber's goroutine alone.
	panics   uint64 // not logged yet
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

// Emit queues e for each subscriber; it never blocks. After Close it has no effect.
func (d *Dispatcher[E]) Emit(e E) {
	for _, s := range d.subscribers {
		select {
		case s.queue <- e:
		default:
			s.lost.Add(1)
		}
	}
}

// Close waits until the subscribers have taken all queued events, or until ctx ends.
func (d *Dispatcher[E]) Close(ctx context.Context) {
	close(d.stop)
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		for _, s := range d.subscribers {
			if left := len(s.queue); left > 0 {
				s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": left}).Warn("Subscriber to events has not taken all events before the shutdown")
			}
		}
	}
}

func (s *subscriber[E]) run(stop <-chan struct{}) {
	var logged time.Time
	for {
		select {
		case e := <-s.queue:
			s.call(e)
			logged = s.logLost(logged)
		case <-stop:
			for { // the queued events
				select {
				case e := <-s.queue:
					s.call(e)
				default:
					s.logLost(time.Time{})
					if s.panics > 0 {
						s.log.WithFields(logrus.Fields{"subscriber": s.index, "panics": s.panics}).Error("Subscriber to events panicked again since the last line about it")
					}
					return
				}
			}
		}
	}
}

// logLost logs how many events were lost, unless it did so within lossInterval.
func (s *subscriber[E]) logLost(last time.Time) time.Time {
	lost := s.lost.Load()
	if lost == 0 || time.Since(last) < lossInterval {
		return last
	}
	s.lost.Add(-lost)
	s.log.WithFields(logrus.Fields{"subscriber": s.index, "events": lost}).Warn("Subscriber to events is too slow and missed some")
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

// Call calls f and returns the value and stack of its panic, nil if it does not panic.
func Call(f func()) (p any, stack []byte) {
	defer func() {
		if p = recover(); p != nil {
			stack = debug.Stack()
		}
	}()
	f()
	return nil, nil
}

// InCall reports whether Call is among the callers: code that waits for that function to return
// would wait for itself.
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
