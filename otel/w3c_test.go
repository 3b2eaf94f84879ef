package otel

import (
	"context"
	"testing"

	api "go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

// Whatever the headers hold, what is read of them is what the propagator reads.
func FuzzTraceparent(f *testing.F) {
	for _, parent := range []string{
		aParent, aParent + "-x", aParent[:54], "", "00", "01" + aParent[2:], "01" + aParent[2:] + "-more", "ff" + aParent[2:], "0A" + aParent[2:],
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-04",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
		"00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
	} {
		f.Add([]byte(parent), "", "", false)
		f.Add([]byte(parent), "a=b", "user=7", true)
	}
	f.Add([]byte(aParent), "nonsense", ";;", true)
	propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	tr := &tracer{propagator: propagator, w3c: true}
	f.Fuzz(func(t *testing.T, parent []byte, state, bags string, more bool) {
		hs := []racecar.Header{{Key: traceparent, Value: []byte(aParent)}, {Key: "other"}, {Key: traceparent, Value: parent}}
		if more {
			hs = append(hs, racecar.Header{Key: tracestate, Value: []byte(state)}, racecar.Header{Key: baggage, Value: []byte(bags)})
		}
		ctx, got := tr.extract(context.Background(), hs)
		wantCtx := propagator.Extract(context.Background(), headers{&hs})
		if want := trace.SpanContextFromContext(wantCtx); !got.Equal(want) {
			t.Errorf("%q: %+v, want %+v", parent, got, want)
		}
		if got, want := api.FromContext(ctx).String(), api.FromContext(wantCtx).String(); got != want {
			t.Errorf("baggage %q, want %q", got, want)
		}
	})
}
