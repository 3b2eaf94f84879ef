package otel

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// span is the span of one message, made without the SDK's, which costs a multiple:
// it copies attributes three times, looks for doubles among them in a map, and
// allocates what most spans do not have. What becomes of a span of a message is
// nearly always the same: it has attributes when it begins, and it ends.
//
// Anything else that is asked of it, an event say, is left to a span of the SDK
// that takes its place under the same ids (whole). So limits, doubles and the like
// are the SDK's own, and TestSpansAreTheSDKs compares what is exported.
//
// Unlike the SDK's it does not count its children (ChildSpanCount), which OTLP does
// not know of.
type span struct {
	embedded.Span
	quick *quick
	ctx   context.Context // where it began; nil once it has ended

	mu    sync.Mutex
	over  bool
	whole trace.Span // nil: this is all there is
	data  finished   // not changed any more once it is over

	room [maxAttributes]attribute.KeyValue
	link [1]sdk.Link
}

// finished is what exporters are told of a span. What it does not tell itself, the
// resource say, is as in a span of the SDK of that kind.
type finished struct {
	sdk.ReadOnlySpan
	name            string
	context, parent trace.SpanContext
	start, end      time.Time
	attributes      []attribute.KeyValue
	links           []sdk.Link
}

func (f *finished) Name() string                     { return f.name }
func (f *finished) SpanContext() trace.SpanContext   { return f.context }
func (f *finished) Parent() trace.SpanContext        { return f.parent }
func (f *finished) StartTime() time.Time             { return f.start }
func (f *finished) EndTime() time.Time               { return f.end }
func (f *finished) Attributes() []attribute.KeyValue { return f.attributes }
func (f *finished) Links() []sdk.Link                { return f.links }

// SpanContext implements trace.Span.
func (s *span) SpanContext() trace.SpanContext { return s.data.context }

// TracerProvider implements trace.Span.
func (s *span) TracerProvider() trace.TracerProvider { return s.quick.provider }

// IsRecording implements trace.Span.
func (s *span) IsRecording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.over
}

// End implements trace.Span.
func (s *span) End(options ...trace.SpanEndOption) {
	if len(options) > 0 {
		s.leave(func(to trace.Span) {}) // the SDK knows what they mean
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.over, s.ctx = true, nil
	whole := s.whole
	s.data.end = s.data.start.Add(time.Since(s.data.start)) // monotonic
	s.mu.Unlock()
	if whole != nil {
		whole.End(options...)
		return
	}
	s.quick.processor.OnEnd(&s.data)
}

// SetAttributes implements trace.Span.
func (s *span) SetAttributes(attributes ...attribute.KeyValue) {
	s.mu.Lock()
	plain := !s.over && s.whole == nil && len(s.data.attributes)+len(attributes) <= sdk.DefaultAttributeCountLimit
	for _, a := range attributes {
		t := a.Value.Type()
		plain = plain && a.Valid() && t != attribute.SLICE && t != attribute.MAP
	}
	if plain {
		for _, a := range attributes {
			s.set(a)
		}
	}
	s.mu.Unlock()
	if !plain {
		s.leave(func(to trace.Span) { to.SetAttributes(attributes...) })
	}
}

// set adds an attribute or replaces the one of that key.
func (s *span) set(a attribute.KeyValue) {
	for i := range s.data.attributes {
		if s.data.attributes[i].Key == a.Key {
			s.data.attributes[i] = a
			return
		}
	}
	s.data.attributes = append(s.data.attributes, a)
}

// AddEvent implements trace.Span.
func (s *span) AddEvent(name string, options ...trace.EventOption) {
	s.leave(func(to trace.Span) { to.AddEvent(name, options...) })
}

// AddLink implements trace.Span.
func (s *span) AddLink(link trace.Link) {
	s.leave(func(to trace.Span) { to.AddLink(link) })
}

// RecordError implements trace.Span.
func (s *span) RecordError(err error, options ...trace.EventOption) {
	s.leave(func(to trace.Span) { to.RecordError(err, options...) })
}

// SetStatus implements trace.Span.
func (s *span) SetStatus(code codes.Code, description string) {
	s.leave(func(to trace.Span) { to.SetStatus(code, description) })
}

// SetName implements trace.Span.
func (s *span) SetName(name string) {
	s.leave(func(to trace.Span) { to.SetName(name) })
}

// leave leaves what is to be done to a span of the SDK, unless it is too late.
func (s *span) leave(what func(to trace.Span)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.whole == nil {
		s.whole = s.quick.replace(s)
	}
	what(s.whole)
}
