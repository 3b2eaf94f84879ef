package otel

import (
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/racecar"
)

// BenchmarkProcessMessage measures the cost of a message whose producer had a span, as time of
// its own goroutine (ns/op) and as CPU time of the whole process (cpu-ns/op), which includes
// the exporter's goroutine and the garbage collector: for the span alone, with OTLP requests
// that nobody receives, and for a span that is sampled out.
func BenchmarkProcessMessage(b *testing.B) {
	for _, test := range []struct{ name, sampler, exporter string }{
		{"span", "always_on", ""},
		{"span and OTLP", "always_on", "otlp"},
		{"sampled out", "always_off", "otlp"},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.Setenv("OTEL_TRACES_SAMPLER", test.sampler)
			b.Setenv("OTEL_TRACES_EXPORTER", "otlp")
			b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			tr := &tracer{}
			if err := tr.Start(&racecar.Config{ClientID: "racecar", GroupID: "g"}, slog.New(slog.DiscardHandler)); err != nil {
				b.Fatal(err)
			}
			exporter := sdk.SpanExporter(tracetest.NewNoopExporter())
			if test.exporter != "" {
				var err error
				if exporter, err = autoexport.NewSpanExporter(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			tr.use(exporter, resource.Empty(), sdk.WithBlocking()) // else it would drop most of them, and so cost little
			place := racecar.Worker{Consumer: "C", Group: "g"}
			m := &racecar.Message{Topic: "pageviews", Partition: 3, Offset: 1 << 40, Key: []byte("user-1"), Value: make([]byte, 200), Timestamp: time.Now(),
				Headers: []racecar.Header{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}}
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				_, end := tr.ProcessMessage(b.Context(), place, m)
				end(nil)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the CPU time that this process has used.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
