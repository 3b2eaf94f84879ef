package otel

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

// What W3C Trace Context and Baggage call their headers.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
	baggage     = "baggage"
)

// extract returns the span that a message's headers name as its origin, invalid
// without one, and ctx with whatever else they carry; that span is not in it.
//
// By far most messages have a traceparent of version 00 and nothing else. It is
// read here from the header's bytes, which costs a tenth of what the propagator
// takes; FuzzTraceparent holds that both read the same. All else is the
// propagator's.
func (t *tracer) extract(ctx context.Context, hs []racecar.Header) (context.Context, trace.SpanContext) {
	if len(hs) == 0 {
		return ctx, trace.SpanContext{}
	}
	if t.w3c {
		var parent []byte
		simple := true
		for i := range hs { // of several the last one counts, as for headers.Get
			switch hs[i].Key {
			case traceparent:
				parent = hs[i].Value
			case tracestate, baggage:
				simple = false
			}
		}
		if simple && len(parent) == 0 {
			return ctx, trace.SpanContext{}
		}
		if simple {
			if c, ok := parseTraceparent(parent); ok {
				return ctx, c
			}
		}
	}
	ctx = t.propagator.Extract(ctx, headers{&hs})
	c := trace.SpanContextFromContext(ctx)
	if !c.IsRemote() {
		c = trace.SpanContext{}
	}
	return ctx, c
}

// parseTraceparent reads a traceparent of version 00. Not ok: it is none, or one
// that the propagator is to judge.
func parseTraceparent(b []byte) (_ trace.SpanContext, ok bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(b) != length || b[0] != '0' || b[1] != '0' || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return trace.SpanContext{}, false
	}
	c := trace.SpanContextConfig{Remote: true}
	var flags [1]byte
	if !unhex(c.TraceID[:], b[3:35]) || !unhex(c.SpanID[:], b[36:52]) || !unhex(flags[:], b[53:]) {
		return trace.SpanContext{}, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0])
	if c.TraceFlags&^(trace.FlagsSampled|trace.FlagsRandom) != 0 {
		return trace.SpanContext{}, false
	}
	s := trace.NewSpanContext(c)
	return s, s.IsValid()
}

// unhex reads lower-case hexadecimal digits, two a byte.
func unhex(dst, digits []byte) bool {
	for i := range dst {
		high, low := digit(digits[2*i]), digit(digits[2*i+1])
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// digit is the value of a lower-case hexadecimal digit, 255 of anything else.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
