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

// closePatience is how long subscribers have for their last events.
const closePatience = time.Second

// Worker takes a worker's events to where they are wanted.
type Worker struct {
	datadog    *Datadog
	app        *appSink                            // nil without datadog
	dispatcher *dispatch.Dispatcher[racecar.Event] // nil: nobody subscribes
}

// NewWorker prepares what c asks for and what subscribes (racecar.Observe).
// It fails when Datadog is configured in a way that cannot work; an agent that
// does not answer is no failure. Close must be called.
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

// NewSubscribers is NewWorker for a process that has no messages: nothing of it goes
// to Datadog.
func NewSubscribers(subscribers []func(racecar.Event), log logrus.FieldLogger) *Worker {
	w := &Worker{}
	if len(subscribers) > 0 {
		w.dispatcher = dispatch.New(subscribers, log)
	}
	return w
}

// Emit returns what a worker tells its events to (worker.Options.Emit): nil when
// nobody wants any. It does not block and may be called from several
// goroutines, not after Close.
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

// Starts reports whether the start_process_ events are wanted as well: only
// subscribers look at them, and each costs an allocation per message.
func (w *Worker) Starts() bool { return w.dispatcher != nil }

// Datadog is the sink of that name, nil when it is off: for the events of
// standalone producers in the same process, which do not go through Emit.
func (w *Worker) Datadog() *Datadog { return w.datadog }

// Close delivers what is left.
func (w *Worker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if w.dispatcher != nil {
		w.dispatcher.Close(ctx)
	}
	var err error
	if w.datadog != nil {
		w.app.close(closePatience)
		err = errors.Join(err, w.datadog.Close())
	}
	return err
}
