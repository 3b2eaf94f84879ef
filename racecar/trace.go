package racecar

import (
	"context"
	"log/slog"
)

// Tracer makes spans of what consumers and producers do. Package otel has the
// one that most programs want; its import is all it takes. Its methods are called
// from several goroutines, those of messages on the path of messages.
type Tracer interface {
	// Start prepares the tracer for the process it is in; the first call counts.
	// Its error ends the process: c or the environment cannot work. log takes what
	// goes wrong later.
	Start(c *Config, log *slog.Logger) error
	// ProcessMessage begins the span of a call of Process. The call gets the ctx
	// returned; end is called once with the call's error.
	ProcessMessage(ctx context.Context, w Worker, m *Message) (_ context.Context, end func(error))
	// ProcessBatch begins the span of a call of ProcessBatch, as ProcessMessage.
	ProcessBatch(ctx context.Context, w Worker, ms []*Message) (_ context.Context, end func(error))
	// Produce begins the span of a message that is about to be queued and adds
	// headers to it. end is called once: with where the message is, or with the
	// error for which it is nowhere (partition and offset are -1 if not known).
	Produce(ctx context.Context, m *ProducerMessage) (end func(partition int32, offset int64, err error))
	// Flush delivers the spans that have ended, or gives up when ctx ends.
	Flush(ctx context.Context) error
}

// Trace has t make spans in this process's workers and standalone producers.
// Call it from init; of several calls the last one counts.
func Trace(t Tracer) { program.SetTracer(t) }
