package otel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/racecar-go/racecar/racecar"
)

// scope names our instrumentation.
const scope = "github.com/racecar-go/racecar/otel"

// errorsEvery is the shortest time between two log lines about a failing exporter.
const errorsEvery = time.Minute

// tracer implements racecar.Tracer.
type tracer struct {
	once       sync.Once
	err        error
	spans      trace.Tracer
	provider   *sdk.TracerProvider // nil: spans are dropped
	propagator propagation.TextMapPropagator
	lost       *lostSpans
	client     attribute.KeyValue
}

// Start implements racecar.Tracer.
func (t *tracer) Start(c *racecar.Config, log *slog.Logger) error {
	t.once.Do(func() { t.err = t.start(c, log) })
	return t.err
}

func (t *tracer) start(c *racecar.Config, log *slog.Logger) error {
	t.client = semconv.MessagingClientID(valid(c.ClientID))
	t.lost = &lostSpans{log: log}
	// OpenTelemetry's libraries report to our log, not to stderr: unknown names in variables,
	// mostly.
	api.SetErrorHandler(api.ErrorHandlerFunc(func(err error) { log.Warn("OpenTelemetry reports an error", "error", err) }))
	api.SetLogger(logr.FromSlogHandler(log.Handler()))
	t.propagator = autoprop.NewTextMapPropagator()
	api.SetTextMapPropagator(t.propagator)
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"):
		t.spans = noop.NewTracerProvider().Tracer(scope)
		return nil
	case testing.Testing() && !exporterNamed():
		t.spans = api.Tracer(scope) // drops spans unless the test has set a provider
		return nil
	}
	ctx := context.Background()
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("OpenTelemetry's exporter (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_*): %w", err)
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		t.spans = noop.NewTracerProvider().Tracer(scope)
		return nil
	}
	from, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(serviceName(c))), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return fmt.Errorf("OpenTelemetry's resource (OTEL_RESOURCE_ATTRIBUTES): %w", err)
	}
	t.use(exporter, from)
	return nil
}

// use sends spans to exporter.
func (t *tracer) use(exporter sdk.SpanExporter, from *resource.Resource, options ...sdk.BatchSpanProcessorOption) {
	t.lost.SpanExporter = exporter
	limits := sdk.NewSpanLimits()
	if os.Getenv("OTEL_SPAN_LINK_COUNT_LIMIT") == "" {
		limits.LinkCountLimit = -1 // the span of a batch is linked to all its messages
	}
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(t.lost, options...), sdk.WithResource(from), sdk.WithRawSpanLimits(limits))
	t.spans = t.provider.Tracer(scope)
	api.SetTracerProvider(t.provider)
}

// exporterNamed reports whether a variable names an exporter or an endpoint.
func exporterNamed() bool {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

func serviceName(c *racecar.Config) string {
	if c.GroupID != "" {
		return c.GroupID
	}
	return c.ClientID
}

// Flush implements racecar.Tracer.
func (t *tracer) Flush(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	err := t.provider.ForceFlush(ctx)
	t.lost.logRest()
	return err
}

// lostSpans is an exporter that logs how many spans could not be exported and why, at most once
// in errorsEvery and at each Flush.
type lostSpans struct {
	sdk.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
	lost int   // since the last line
	err  error // the last one
}

// ExportSpans implements sdk.SpanExporter.
func (l *lostSpans) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := l.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.err = l.lost+len(spans), err
	if time.Since(l.last) >= errorsEvery {
		l.report()
	}
	return nil // reported
}

// logRest logs the spans lost since the last line: no other line may follow.
func (l *lostSpans) logRest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		l.report()
	}
}

// report writes the line. l.mu is held.
func (l *lostSpans) report() {
	l.log.Warn("spans lost", "spans", l.lost, "error", l.err)
	l.last, l.lost = time.Now(), 0
}
