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

// logEvery is the shortest time between two lines about failed deliveries. A line counts the
// failures since the previous one, so that an outage does not log every message.
const logEvery = 10 * time.Second

// reporter reports the results of messages to OnError, subscribers and the log. The
// producer must not wait for these functions, so each runs on a goroutine of its own.
type reporter struct {
	onError func(context.Context, error, ErrorInfo)
	events  *dispatch.Dispatcher[Event] // nil: there are no subscribers
	log     logrus.FieldLogger

	mu      sync.Mutex
	failing []failure     // not reported yet
	wake    chan struct{} // capacity 1
	stop    chan struct{} // closed by close
	stopped chan struct{} // closed when the goroutine has ended; nil: it has not been started
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

// emit reports to subscribers, if observed.
func (r *reporter) emit(e producerevent.Report) { r.events.Emit(e.Event()) }

// delivered reports the result of a message to subscribers.
func (r *reporter) delivered(topic string, partition int32, offset int64, err error) {
	switch {
	case !r.observed():
	case err == nil:
		r.emit(producerevent.Report{Name: "acknowledged_message", Topic: topic, Partition: partition, Offset: offset})
	default:
		r.emit(producerevent.Report{Name: "produce_delivery_error", Topic: topic, Partition: partition, Err: err})
	}
}

// failed takes a failure that nobody waits for.
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
	unlogged := 0 // failures that no line counts yet
	var last failure
	line := func() {
		if unlogged > 0 {
			r.log.WithFields(logrus.Fields{"topic": last.topic, "partition": last.partition, "error": last.err, "messages": unlogged}).
				Error("messages were not delivered")
			unlogged, logged = 0, time.Now()
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
			unlogged++
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

// close waits until everything is reported or ctx ends. The producer is already closed, so
// nothing else is coming.
func (r *reporter) close(ctx context.Context) error {
	if ctx.Err() != nil { // the deliveries took all of the time, and their failures are not reported yet
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
			err = fmt.Errorf("OnError has not returned for all messages that were not delivered: %w", context.Cause(ctx))
		}
	}
	if r.events != nil {
		r.events.Close(ctx)
	}
	return err
}
