package otel

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

func TestStart(t *testing.T) {
	tests := []struct {
		name     string
		env      map[string]string
		err      string
		goes     bool   // spans go somewhere
		injected string // header of a message produced in a span
	}{
		{name: "console", env: map[string]string{"OTEL_TRACES_EXPORTER": "console"}, goes: true, injected: "traceparent"},
		{name: "another form of context", env: map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_PROPAGATORS": "b3"}, goes: true, injected: "b3"},
		{name: "sampled out", env: map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "always_off"}, goes: true, injected: "traceparent"},
		{name: "none", env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		{name: "disabled", env: map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "nonsense"}},
		{name: "unknown exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "nonsense"}, err: `OTEL_TRACES_EXPORTER`},
		{name: "unknown protocol", env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, err: `invalid OTLP protocol`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			tr := &tracer{}
			err := tr.Start(&racecar.Config{ClientID: "c"}, slog.New(slog.DiscardHandler))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %v, want one line with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tr.provider != nil {
				t.Cleanup(func() { _ = tr.provider.Shutdown(context.Background()) })
			}
			if got := tr.provider != nil; got != test.goes {
				t.Errorf("spans go somewhere: %t", got)
			}
			m := racecar.ProducerMessage{Topic: "t", Value: []byte("v")}
			tr.Produce(t.Context(), &m)(-1, -1, errors.New("not this time"))
			names := ""
			for _, h := range m.Headers {
				names += h.Key
			}
			if names != test.injected {
				t.Errorf("headers %q, want %q", names, test.injected)
			}
		})
	}
}

// Produce overwrites neither a context that the author gave a message nor the array of the
// author's headers.
func TestProduceKeepsTheAuthorsHeaders(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	tr := &tracer{}
	if err := tr.Start(&racecar.Config{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.provider.Shutdown(context.Background()) })
	own := racecar.Header{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}
	m := racecar.ProducerMessage{Topic: "t", Headers: []racecar.Header{own}}
	tr.Produce(t.Context(), &m)(0, 0, nil)
	if len(m.Headers) != 1 {
		t.Errorf("headers %v", m.Headers)
	}
	array := make([]racecar.Header, 1, 4)
	array[0] = racecar.Header{Key: "a"}
	m = racecar.ProducerMessage{Topic: "t", Headers: array}
	tr.Produce(t.Context(), &m)(0, 0, nil)
	if len(m.Headers) != 2 || array[:2][1].Key != "" {
		t.Errorf("headers %v, the author's array %v", m.Headers, array[:2])
	}
}

// With tracing disabled, messages still carry the context on.
func TestDisabledPassesContextOn(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	tr := &tracer{}
	if err := tr.Start(&racecar.Config{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	in := &racecar.Message{Topic: "t", Headers: []racecar.Header{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}}
	ctx, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, in)
	defer end(nil)
	if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("trace %s", got)
	}
	out := racecar.ProducerMessage{Topic: "t"}
	tr.Produce(ctx, &out)(0, 0, nil)
	if len(out.Headers) != 1 || !strings.Contains(string(out.Headers[0].Value), "0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("headers %s", out.Headers)
	}
}

// A missing collector is logged once a minute, with the number of lost spans.
func TestLostSpansAreLoggedOnce(t *testing.T) {
	var b bytes.Buffer
	l := &lostSpans{SpanExporter: refusing{}, log: slog.New(slog.NewTextHandler(&b, nil))}
	for range 100 {
		if err := l.ExportSpans(t.Context(), make([]sdk.ReadOnlySpan, 3)); err != nil {
			t.Fatal(err)
		}
	}
	l.last = time.Time{}
	if err := l.ExportSpans(t.Context(), make([]sdk.ReadOnlySpan, 3)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "spans=3 ") || !strings.Contains(lines[1], "spans=300 ") || !strings.Contains(lines[0], "refused") {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	for range 2 {
		if err := l.ExportSpans(t.Context(), make([]sdk.ReadOnlySpan, 3)); err != nil {
			t.Fatal(err)
		}
	}
	l.logRest()
	l.logRest()
	if lines := strings.Split(strings.TrimSpace(b.String()), "\n"); len(lines) != 1 || !strings.Contains(lines[0], "spans=6 ") {
		t.Errorf("at the end: %s", b.String())
	}
}

type refusing struct{ sdk.SpanExporter }

func (refusing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return errors.New("refused") }

// OpenTelemetry's libraries report mistakes in variables to our log, not to stderr.
func TestMistakesInVariablesAreLogged(t *testing.T) {
	var b bytes.Buffer
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	t.Setenv("OTEL_PROPAGATORS", "smoke")
	t.Setenv("OTEL_TRACES_SAMPLER", "sometimes")
	tr := &tracer{}
	if err := tr.Start(&racecar.Config{}, slog.New(slog.NewTextHandler(&b, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.provider.Shutdown(context.Background()) })
	for _, want := range []string{"smoke", "sometimes"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no word of %q: %s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "lost") {
		t.Errorf("%s", b.String())
	}
}

// A test that imports this package connects to no collector.
func TestSilentInTests(t *testing.T) {
	tr := &tracer{}
	if err := tr.Start(&racecar.Config{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if tr.provider != nil {
		t.Error("spans go somewhere")
	}
}

// A collector whose name does not resolve stops nothing: spans are lost, which is logged.
func TestCollectorThatDoesNotResolve(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://nowhere.invalid:4318")
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			tr := &tracer{}
			if err := tr.Start(&racecar.Config{ClientID: "racecar"}, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			_, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t"})
			end(nil)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_ = tr.Flush(ctx) // what becomes of the spans is not ours to say
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Flush took %v", took)
			}
		})
	}
}
