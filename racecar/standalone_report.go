package racecar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/dispatch"
	"github.com/racecar-go/racecar/internal/producerevent"
)

// logEvery is how often failed deliveries are logged at most; the line counts
// those since the last one. An outage makes one line, not one a message.
const logEvery = 10 * time.Second

// reporter tells the author's functions and the log what became of messages.
// The producer must not wait for them, so OnError and each observer have a
// goroutine of their own.
type reporter struct {
	onError func(context.Context, error, ErrorInfo)
	events  *dispatch.Dispatcher[Event] // nil: nobody observes
	log     logrus.FieldLogger

	mu      sync.Mutex
	failing []failure     // not told yet
	wake    chan struct{} // capacity 1
	stop    chan struct{} // closed by close
	stopped chan struct{} // closed when the goroutine is gone; nil: it never ran
}

type failure struct {
	topic     string
	partition int32
	err       error
}

func newReporter(onError func(context.Context, error, ErrorInfo), observers []func(Event), log logrus.FieldLogger) *reporter {
	r := &reporter{onError: onError, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if len(observers) > 0 {
		r.events = dispatch.New(observers, log)
	}
	return r
}

func (r *reporter) observed() bool { return r.events != nil }

// emit reports to observers, of which there are some.
func (r *reporter) emit(e producerevent.Report) { r.events.Emit(e.Event()) }

// delivered tells observers how a message ended.
func (r *reporter) delivered(topic string, partition int32, offset int64, err error) {
	switch {
	case !r.observed():
	case err == nil:
		r.emit(producerevent.Report{Name: "acknowledged_message", Topic: topic, Partition: partition, Offset: offset})
	default:
		r.emit(producerevent.Report{Name: "produce_delivery_error", Topic: topic, Partition: partition, Err: err})
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
			r.callOnError(f)
		}
		if time.Since(logged) >= logEvery {
			line()
		}
		if stopping {
			return
		}
	}
}

func (r *reporter) callOnError(f failure) {
	if r.onError == nil {
		return
	}
	info := ErrorInfo{Topic: f.topic, Partition: f.partition, UnrecoverableDelivery: true}
	if p, stack := dispatch.Call(func() { r.onError(context.Background(), f.err, info) }); p != nil {
		r.log.WithFields(logrus.Fields{"function": "OnError", "panic": fmt.Sprint(p), "stack": string(stack)}).
			Error("panic in a function given to racecar")
	}
}

// close waits until everything is told or ctx ends. The producer is closed by
// then, so nothing comes after.
func (r *reporter) close(ctx context.Context) error {
	if ctx.Err() != nil { // spent on the deliveries: what they ended with is still to be told
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
	}
	close(r.stop)
	r.mu.Lock()
	stopped := r.stopped
	r.mu.Unlock()
	var err error
	if stopped != nil {
		select {
		case <-stopped:
		case <-ctx.Done():
			err = fmt.Errorf("OnError is not done with the messages that were not delivered: %w", context.Cause(ctx))
		}
	}
	if r.events != nil {
		r.events.Close(ctx)
	}
	return err
}
