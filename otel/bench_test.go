package otel

import (
	"log/slog"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/racecar-go/racecar/racecar"
)

// What a message costs whose producer had a span: the span alone; with the
// library's making of OTLP requests beside it, to nobody; and one that is sampled
// out.
func BenchmarkProcessMessage(b *testing.B) {
	for _, test := range []struct{ name, sampler, exporter string }{
		{"span", "always_on", ""}, {"span and OTLP", "always_on", "otlp"}, {"sampled out", "always_off", "otlp"},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.Setenv("OTEL_TRACES_SAMPLER", test.sampler)
			b.Setenv("OTEL_TRACES_EXPORTER", "otlp")
			b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			tr := &tracer{}
			if err := tr.Start(&racecar.Config{ClientID: "racecar", GroupID: "g"}, slog.New(slog.DiscardHandler)); err != nil {
				b.Fatal(err)
			}
			if test.exporter == "" {
				tr.use(sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter())))
			}
			place := racecar.Worker{Consumer: "C", Group: "g"}
			m := &racecar.Message{Topic: "pageviews", Partition: 3, Offset: 1 << 40, Key: []byte("user-1"), Value: make([]byte, 200), Timestamp: time.Now(),
				Headers: []racecar.Header{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}}
			b.ReportAllocs()
			for b.Loop() {
				_, end := tr.ProcessMessage(b.Context(), place, m)
				end(nil)
			}
		})
	}
}
