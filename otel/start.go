package otel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

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

// errorsEvery is how often a failing exporter is logged at most.
const errorsEvery = time.Minute

// tracer implements racecar.Tracer.
type tracer struct {
	once       sync.Once
	err        error
	spans      trace.Tracer
	provider   *sdk.TracerProvider // nil: spans go nowhere
	quick      *quick              // nil: all spans are the SDK's
	sampling   sampling
	propagator propagation.TextMapPropagator
	w3c        bool // the propagator is W3C's Trace Context and perhaps Baggage
	client     attribute.KeyValue
}

// Start implements racecar.Tracer.
func (t *tracer) Start(c *racecar.Config, log *slog.Logger) error {
	t.once.Do(func() { t.err = t.start(c, log) })
	return t.err
}

func (t *tracer) start(c *racecar.Config, log *slog.Logger) error {
	t.client = semconv.MessagingClientID(c.ClientID)
	// autoprop panics on nothing but reports unknown names to the error handler.
	api.SetErrorHandler(&exportErrors{log: log})
	t.propagator = autoprop.NewTextMapPropagator()
	api.SetTextMapPropagator(t.propagator)
	t.w3c = isW3C(os.Getenv("OTEL_PROPAGATORS"))
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		t.spans = noop.NewTracerProvider().Tracer(scope)
		return nil
	}
	ctx := context.Background()
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("OpenTelemetry's exporter, by OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*: %w", err)
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		t.spans = noop.NewTracerProvider().Tracer(scope)
		return nil
	}
	from, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(serviceName(c))), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return fmt.Errorf("OpenTelemetry's resource, by OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t.use(exporter, from)
	return nil
}

// use has spans go to exporter.
func (t *tracer) use(exporter sdk.SpanExporter, from *resource.Resource, options ...sdk.BatchSpanProcessorOption) {
	batches := sdk.NewBatchSpanProcessor(exporter, options...)
	t.provider = sdk.NewTracerProvider(sdk.WithSpanProcessor(batches), sdk.WithResource(from))
	t.sampling = newSampling()
	t.quick = newQuick(t.provider, batches, from)
	t.spans = t.provider.Tracer(scope)
	api.SetTracerProvider(t.provider)
}

// isW3C says whether OTEL_PROPAGATORS asks for nothing but W3C's forms, Trace
// Context among them.
func isW3C(propagators string) bool {
	switch propagators {
	case "", "tracecontext", "tracecontext,baggage", "baggage,tracecontext":
		return true
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
	return t.provider.ForceFlush(ctx)
}

// exportErrors logs what OpenTelemetry's libraries report, which is mostly the
// same for as long as a collector is away.
type exportErrors struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
	more int
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.more++
	if time.Since(e.last) < errorsEvery {
		return
	}
	e.log.Warn("Spans lost", "error", err, "times", e.more)
	e.last, e.more = time.Now(), 0
}
