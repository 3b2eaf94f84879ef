package otel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/racecar-go/racecar/racecar"
)

// newTracer returns a tracer of a consumer and what it exported so far.
func newTracer(t *testing.T) (*tracer, func() tracetest.SpanStubs) {
	t.Helper()
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	tr := &tracer{}
	if err := tr.Start(&racecar.Config{ClientID: "racecar", GroupID: "g"}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := tr.provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	tr.use(exporter, resource.Empty(), sdk.WithBlocking())
	t.Cleanup(func() {
		if err := tr.provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr, func() tracetest.SpanStubs {
		t.Helper()
		if err := tr.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return exporter.GetSpans()
	}
}

// No text of consumer code or of a message can make a batch of spans invalid for a collector.
func TestTextsAreValid(t *testing.T) {
	tr, exported := newTracer(t)
	const bad = "a\xff\xc3b"
	w := racecar.Worker{Group: bad}
	_, done := tr.ProcessMessage(t.Context(), w, &racecar.Message{Topic: bad, Key: []byte(bad), Value: []byte(bad)})
	done(errors.New(bad + strings.Repeat("é", maxDescription)))
	_, done = tr.ProcessBatch(t.Context(), w, []*racecar.Message{{Topic: bad}})
	done(errors.New(bad))
	tr.Produce(t.Context(), &racecar.ProducerMessage{Topic: bad, Key: []byte(bad)})(0, 0, errors.New(bad))
	spans := exported()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	for _, s := range spans {
		texts := []string{s.Name, s.Status.Description}
		for _, a := range s.Attributes {
			texts = append(texts, string(a.Key), a.Value.String())
		}
		for _, text := range texts {
			if !utf8.ValidString(text) {
				t.Errorf("%s: %q", s.Name, text)
			}
		}
		if s.Status.Code != codes.Error || len(s.Status.Description) > maxDescription+3 {
			t.Errorf("%s: %v, %d bytes", s.Name, s.Status.Code, len(s.Status.Description))
		}
	}
}

// counter is a program's span processor.
type counter struct {
	sdk.SpanProcessor
	ended int
}

func (c *counter) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (c *counter) OnEnd(sdk.ReadOnlySpan)                     { c.ended++ }
func (c *counter) Shutdown(context.Context) error             { return nil }
func (c *counter) ForceFlush(context.Context) error           { return nil }

// A processor that a program registers sees the spans of messages.
func TestProcessorsSeeMessages(t *testing.T) {
	tr, _ := newTracer(t)
	c := &counter{}
	tr.provider.RegisterSpanProcessor(c)
	_, done := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t"})
	done(nil)
	tr.Produce(t.Context(), &racecar.ProducerMessage{Topic: "t"})(0, 0, nil)
	if c.ended != 2 {
		t.Errorf("%d of 2 spans", c.ended)
	}
}

// The span of a batch is linked to those of all its messages, also above OpenTelemetry's usual
// limit of 128, unless a variable sets one.
func TestLinksOfALargeBatch(t *testing.T) {
	for limit, want := range map[string]int{"": 500, "3": 3} {
		t.Setenv("OTEL_SPAN_LINK_COUNT_LIMIT", limit)
		tr, exported := newTracer(t)
		var batch []*racecar.Message
		for i := range 500 {
			header := racecar.Header{Key: "traceparent", Value: fmt.Appendf(nil, "00-0af7651916cd43dd8448eb211c80319c-%016x-01", i+1)}
			batch = append(batch, &racecar.Message{Topic: "t", Offset: int64(i), Headers: []racecar.Header{header}})
		}
		_, done := tr.ProcessBatch(t.Context(), racecar.Worker{}, batch)
		done(nil)
		if spans := exported(); len(spans) != 1 || len(spans[0].Links) != want {
			t.Errorf("limit %q: %d spans, %d links, want %d", limit, len(spans), len(spans[0].Links), want)
		}
	}
}

// A consumer may return an error whose text panics.
func TestSpanOfAnErrorThatPanicsEnds(t *testing.T) {
	tr, exported := newTracer(t)
	_, done := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t"})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is swallowed")
			}
		}()
		done((*fs.PathError)(nil))
	}()
	if n := len(exported()); n != 1 {
		t.Errorf("%d spans", n)
	}
}
