package racecar

import (
	"context"
	"log/slog"
)

// Tracer makes spans of what consumers and producers do. Package otel has one for
// OpenTelemetry, which only needs to be imported. All methods but Start are called from
// several goroutines; those that begin a span delay its message.
type Tracer interface {
	// Start prepares the tracer for the process it is in, before its other methods are
	// called. It may be called again, by each further producer; only the first call counts.
	// An error ends the process: c or the environment cannot work. log takes later errors.
	Start(c *Config, log *slog.Logger) error
	// ProcessMessage begins the span of a call of Process, which receives the ctx that
	// ProcessMessage returns. end is called once, with the call's error.
	ProcessMessage(ctx context.Context, w Worker, m *Message) (_ context.Context, end func(error))
	// ProcessBatch begins the span of a call of ProcessBatch; see ProcessMessage.
	ProcessBatch(ctx context.Context, w Worker, ms []*Message) (_ context.Context, end func(error))
	// Produce begins the span of a message that is about to be queued, and adds headers to
	// it. end is called once: with the partition and offset that the message got (-1 if
	// unknown), or with the error for which it was not delivered.
	Produce(ctx context.Context, m *ProducerMessage) (end func(partition int32, offset int64, err error))
	// Flush delivers the spans that have ended, until ctx ends.
	Flush(ctx context.Context) error
}

// Trace sets the tracer of this process's workers and standalone producers. Call it from
// init; of several calls the last one counts.
func Trace(t Tracer) { program.SetTracer(t) }
