// Package calllog makes the ctx of calls, from which racecar.Logger makes a logger that
// knows the messages of the call.
package calllog

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/racecar"
)

// Parent is the ctx that the calls of a partition have in common.
type Parent struct {
	context.Context
	Logger *slog.Logger
	Tracer racecar.Tracer // nil: none
}

// Value answers for racecar.Logger outside of a call.
func (p *Parent) Value(key any) any {
	if key == (callctx.LoggerKey{}) {
		return callctx.LoggerSource(p)
	}
	return p.Context.Value(key)
}

// LoggerFor implements callctx.LoggerSource.
func (p *Parent) LoggerFor(ctx context.Context) *slog.Logger { return p.traced(ctx, p.Logger) }

// spans is what a racecar.Tracer may have beside its methods.
type spans interface {
	SpanIDs(ctx context.Context) (trace, span string)
}

// traced adds the span in ctx, if there is one.
func (p *Parent) traced(ctx context.Context, l *slog.Logger) *slog.Logger {
	if s, ok := p.Tracer.(spans); ok {
		if trace, span := s.SpanIDs(ctx); trace != "" {
			return l.With("trace_id", trace, "span_id", span)
		}
	}
	return l
}

// Call is the ctx of a call with one message. Each call has its own, so that what a call
// leaves running does not log another message. It is small, since every message costs one:
// which message it is stands in its place among the calls of its series.
type Call struct{ *series }

// series is what a few calls in a row have in common.
type series struct {
	*Parent
	messages []racecar.Message // one for each of calls
	calls    []Call
	attempt  int // at the first one; the others are called for the first time
}

// seriesLength is how many calls a series has at most: fewer would cost more, and whoever
// keeps a ctx keeps the messages of its series.
const seriesLength = 32

// Calls makes the ctxs of calls with messages that follow each other.
type Calls struct {
	parent   *Parent
	messages []racecar.Message // from the first of the series on
	now      *series
	next     int // in now
}

// NewCalls returns a Calls for messages with this parent.
func NewCalls(parent *Parent, messages []racecar.Message) Calls {
	return Calls{parent: parent, messages: messages}
}

// Next returns the ctx of the call with the next message.
func (c *Calls) Next() *Call {
	if c.now == nil || c.next == len(c.now.calls) {
		c.begin()
	}
	call := &c.now.calls[c.next]
	call.series = c.now
	c.next++
	return call
}

// begin begins a series.
func (c *Calls) begin() {
	c.messages, c.next = c.messages[c.next:], 0
	n := min(len(c.messages), seriesLength)
	c.now = &series{Parent: c.parent, messages: c.messages[:n], calls: make([]Call, n), attempt: c.messages[0].Retries + 1}
}

// Value implements context.Context.
func (c *Call) Value(key any) any {
	if key == (callctx.LoggerKey{}) {
		return callctx.LoggerSource(c)
	}
	return c.Context.Value(key)
}

// LoggerFor implements callctx.LoggerSource.
func (c *Call) LoggerFor(ctx context.Context) *slog.Logger {
	i := 0
	for &c.calls[i] != c {
		i++
	}
	m, attempt := &c.messages[i], 1
	if i == 0 {
		attempt = c.attempt
	}
	fields := []any{"topic", m.Topic, "partition", m.Partition, "offset", m.Offset}
	if m.Key != nil {
		fields = append(fields, "key", status.KeyText(m.Key))
	}
	return c.traced(ctx, c.Logger.With(append(fields, "attempt", attempt)...))
}

// Batch is the ctx of a call with several messages.
type Batch struct {
	*Parent
	topic       string
	partition   int32
	first, last int64
	attempt     int
}

// NewBatch returns the ctx of a call with messages.
func NewBatch(parent *Parent, messages []*racecar.Message) *Batch {
	first, last := messages[0], messages[len(messages)-1]
	return &Batch{parent, first.Topic, first.Partition, first.Offset, last.Offset, first.Retries + 1}
}

// Value implements context.Context.
func (b *Batch) Value(key any) any {
	if key == (callctx.LoggerKey{}) {
		return callctx.LoggerSource(b)
	}
	return b.Context.Value(key)
}

// LoggerFor implements callctx.LoggerSource.
func (b *Batch) LoggerFor(ctx context.Context) *slog.Logger {
	return b.traced(ctx, b.Logger.With("topic", b.topic, "partition", b.partition, "offset", b.first, "last_offset", b.last, "attempt", b.attempt))
}
