package otel

import (
	"slices"
	"testing"

	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

// The context of one message of a batch is that of its headers.
func TestMessageContext(t *testing.T) {
	before := api.GetTextMapPropagator()
	t.Cleanup(func() { api.SetTextMapPropagator(before) })
	api.SetTextMapPropagator(propagation.TraceContext{})
	m := &racecar.Message{Headers: []racecar.Header{{Key: "own", Value: []byte("x")}}}
	if c := trace.SpanContextFromContext(MessageContext(t.Context(), m)); c.IsValid() {
		t.Errorf("without one: %v", c)
	}
	Carrier{&m.Headers}.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if got := (Carrier{&m.Headers}).Keys(); !slices.Equal(got, []string{"own", "traceparent"}) {
		t.Errorf("keys %q", got)
	}
	c := trace.SpanContextFromContext(MessageContext(t.Context(), m))
	if !c.IsRemote() || c.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || c.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("got %+v", c)
	}
}

func TestSpanIDsForTheLogger(t *testing.T) {
	tr, _ := newTracer(t)
	if traceID, spanID := tr.SpanIDs(t.Context()); traceID != "" || spanID != "" {
		t.Errorf("outside of a span: %q, %q", traceID, spanID)
	}
	ctx, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t"})
	defer end(nil)
	c := trace.SpanContextFromContext(ctx)
	if traceID, spanID := tr.SpanIDs(ctx); traceID != c.TraceID().String() || spanID != c.SpanID().String() || traceID == "" {
		t.Errorf("%q, %q, want those of %v", traceID, spanID, c)
	}
}
