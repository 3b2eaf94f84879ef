package racecar

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// logEvery is how often failed deliveries are logged at most; the line counts
// those since the last one. An outage makes one line, not one a message.
const logEvery = 10 * time.Second

// reporter tells the author's functions and the log what became of messages.
// The producer must not wait for an OnError, so those run on a goroutine of
// their own.
type reporter struct {
	onError   func(context.Context, error, ErrorInfo)
	observers []func(Event)
	log       logrus.FieldLogger

	mu      sync.Mutex
	failing []failure     // not told yet
	wake    chan struct{} // capacity 1
	stop    chan struct{} // closed by close
	stopped chan struct{} // closed when the goroutine is gone; nil: it never ran
	closed  bool
}

type failure struct {
	topic     string
	partition int32
	err       error
}

func newReporter(onError func(context.Context, error, ErrorInfo), observers []func(Event), log logrus.FieldLogger) *reporter {
	return &reporter{onError: onError, observers: observers, log: log,
		wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

func (r *reporter) observed() bool { return len(r.observers) > 0 }

// observe calls the observers; a panic in one is logged.
func (r *reporter) observe(e Event) {
	for _, f := range r.observers {
		r.contain("observer", func() { f(e) })
	}
}

// contain calls the author's code.
func (r *reporter) contain(what string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			r.log.WithFields(logrus.Fields{"function": what, "panic": fmt.Sprint(p), "stack": string(debug.Stack())}).
				Error("panic in a function given to racecar")
		}
	}()
	f()
}

// delivered tells observers how a message ended.
func (r *reporter) delivered(topic string, partition int32, offset int64, err error) {
	switch {
	case !r.observed():
	case err == nil:
		r.observe(AcknowledgedMessageEvent{Topic: topic, Partition: partition, Offset: offset})
	default:
		r.observe(ProduceDeliveryErrorEvent{Topic: topic, Partition: partition, Err: err})
	}
}

// failed takes a message that nobody else is told of.
func (r *reporter) failed(topic string, partition int32, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = append(r.failing, failure{topic, partition, err})
	if r.stopped == nil {
		r.stopped = make(chan struct{})
		go r.run()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run() {
	defer close(r.stopped)
	var logged time.Time
	untold := 0 // failures that no line counts yet
	var last failure
	line := func() {
		if untold > 0 {
			r.log.WithFields(logrus.Fields{"topic": last.topic, "partition": last.partition, "error": last.err, "messages": untold}).
				Error("messages were not delivered")
			untold, logged = 0, time.Now()
		}
	}
	defer line()
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		stopping := false
		select {
		case <-r.wake:
		case <-tick.C:
		case <-r.stop:
			stopping = true
		}
		r.mu.Lock()
		failing := r.failing
		r.failing = nil
		r.mu.Unlock()
		for _, f := range failing {
			last = f
			untold++
			if r.onError != nil {
				info := ErrorInfo{Topic: f.topic, Partition: f.partition, UnrecoverableDelivery: true}
				r.contain("OnError", func() { r.onError(context.Background(), f.err, info) })
			}
		}
		if time.Since(logged) >= logEvery {
			line()
		}
		if stopping {
			return
		}
	}
}

// close waits until everything is told or ctx ends. The producer is closed by
// then, so nothing comes after.
func (r *reporter) close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.stop)
	}
	stopped := r.stopped
	r.mu.Unlock()
	if stopped == nil {
		return nil
	}
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	// Close may have spent all of ctx on the deliveries: what they ended with is
	// still to be told, if OnError lets us.
	select {
	case <-stopped:
		return nil
	case <-time.After(time.Second):
		return fmt.Errorf("OnError is not done with the messages that were not delivered: %w", context.Cause(ctx))
	}
}
