package monitor

import (
	"context"
	"errors"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/dispatch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/sirupsen/logrus"
)

// closeTimeout is how long subscribers have for their last events.
const closeTimeout = time.Second

// Worker passes a worker's events on to Datadog and to subscribers.
type Worker struct {
	datadog    *Datadog
	app        *appSink                            // nil without datadog
	dispatcher *dispatch.Dispatcher[racecar.Event] // nil: there are no subscribers
}

// NewWorker starts Datadog, if c enables it, and the subscribers (racecar.Observe). It returns
// an error for a configuration of Datadog that cannot work; an agent that does not answer is
// no error. Close must be called.
func NewWorker(c *config.Config, subscribers []func(racecar.Event), log logrus.FieldLogger) (*Worker, error) {
	w := &Worker{}
	if c.DatadogEnabled {
		d, err := NewDatadog(c, log)
		if err != nil {
			return nil, err
		}
		g, err := appmetrics.NewGatherer()
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		w.datadog, w.app = d, newAppSink(d, g)
	}
	if len(subscribers) > 0 {
		w.dispatcher = dispatch.New(subscribers, log)
	}
	return w, nil
}

// NewSubscribers is NewWorker for a process without messages, which sends nothing to
// Datadog.
func NewSubscribers(subscribers []func(racecar.Event), log logrus.FieldLogger) *Worker {
	w := &Worker{}
	if len(subscribers) > 0 {
		w.dispatcher = dispatch.New(subscribers, log)
	}
	return w
}

// Emit returns the function that takes a worker's events (worker.Options.Emit), nil if nobody
// wants any. The function does not block and may be called from several goroutines, but not
// after Close.
func (w *Worker) Emit() func(racecar.Event) {
	switch {
	case w.datadog == nil && w.dispatcher == nil:
		return nil
	case w.dispatcher == nil:
		return w.datadog.Observe
	case w.datadog == nil:
		return emitTo(w.dispatcher)
	}
	emit := emitTo(w.dispatcher)
	return func(e racecar.Event) {
		w.datadog.Observe(e)
		emit(e)
	}
}

// Starts reports whether the start_process_ events are wanted: only subscribers use them, and
// each costs an allocation per message.
func (w *Worker) Starts() bool { return w.dispatcher != nil }

// Datadog returns the sink of that name, nil if it is off. Standalone producers in the same
// process need it, since their events do not go through Emit.
func (w *Worker) Datadog() *Datadog { return w.datadog }

// Close delivers the remaining events, within closeTimeout.
func (w *Worker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if w.dispatcher != nil {
		w.dispatcher.Close(ctx)
	}
	var err error
	if w.datadog != nil {
		w.app.close(closeTimeout)
		err = errors.Join(err, w.datadog.Close())
	}
	return err
}
