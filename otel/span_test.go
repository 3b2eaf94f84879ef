package otel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

const aParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

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
	tr.use(exporter, resource.NewSchemaless(attribute.String("service.name", "g")), sdk.WithBlocking())
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

func with(headers ...string) []racecar.Header {
	var hs []racecar.Header
	for i := 0; i < len(headers); i += 2 {
		hs = append(hs, racecar.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return hs
}

// What is exported of a message is what the SDK's own span would have told, field
// by field, whatever the consumer does to it.
func TestSpansAreTheSDKs(t *testing.T) {
	many := func(n int) []attribute.KeyValue {
		all := make([]attribute.KeyValue, n)
		for i := range all {
			all[i] = attribute.Int(fmt.Sprint("k", i), i)
		}
		return all
	}
	other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	then := time.Now().Add(time.Hour)
	tests := []struct {
		name    string
		m       racecar.Message
		does    func(trace.Span)
		err     error
		sampler string
	}{
		{name: "child", m: racecar.Message{Headers: with("traceparent", aParent), Key: []byte("k"), Value: []byte("v")}},
		{name: "root", m: racecar.Message{Value: []byte("v")}},
		{name: "unsampled parent", m: racecar.Message{Headers: with("traceparent", aParent[:len(aParent)-1]+"0")}, sampler: "always_on"},
		{name: "random trace id", m: racecar.Message{Headers: with("traceparent", aParent[:len(aParent)-1]+"3")}},
		{name: "state and baggage", m: racecar.Message{Headers: with("traceparent", aParent, "tracestate", "a=b,c=d", "baggage", "user=7")}},
		{name: "two parents", m: racecar.Message{Headers: with("traceparent", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent", aParent)}},
		{name: "nonsense for a parent", m: racecar.Message{Headers: with("traceparent", "nonsense")}},
		{name: "key that is no text", m: racecar.Message{Key: []byte{0xff}, Value: []byte{}}},
		{name: "retried tombstone", m: racecar.Message{Key: []byte(""), Retries: 3, Partition: 12345, Offset: 1 << 40}},
		{name: "error", m: racecar.Message{Value: []byte("v")}, err: errors.New("no such place")},
		{name: "attributes", does: func(s trace.Span) {
			s.SetAttributes(attribute.String("a", "b"), attribute.Int("c", 1))
			s.SetAttributes(attribute.String("a", "d"), attribute.String("messaging.system", "pigeons"))
		}},
		{name: "attributes that need care", does: func(s trace.Span) {
			s.SetAttributes(attribute.String("a", "b"), attribute.String("", "no key"), attribute.KeyValue{Key: "invalid"}, attribute.StringSlice("list", []string{"x"}))
			s.SetAttributes(attribute.String("a", "c"))
		}},
		{name: "too many attributes", does: func(s trace.Span) { s.SetAttributes(many(100)...); s.SetAttributes(many(125)...) }},
		{name: "far too many at once", does: func(s trace.Span) { s.SetAttributes(many(200)...) }},
		{name: "event", does: func(s trace.Span) {
			s.SetAttributes(attribute.String("a", "b"))
			s.AddEvent("found", trace.WithTimestamp(then), trace.WithAttributes(attribute.Bool("x", true)))
			s.SetAttributes(attribute.String("c", "d"))
		}},
		{name: "recorded error", does: func(s trace.Span) { s.RecordError(errors.New("odd"), trace.WithTimestamp(then)) }},
		{name: "link", m: racecar.Message{Headers: with("traceparent", aParent)}, does: func(s trace.Span) { s.AddLink(trace.Link{SpanContext: other, Attributes: many(2)}) }},
		{name: "status", does: func(s trace.Span) { s.SetStatus(codes.Ok, ""); s.SetStatus(codes.Error, "late") }},
		{name: "name", does: func(s trace.Span) { s.SetName("another") }},
		{name: "ended twice", does: func(s trace.Span) { s.End(); s.SetAttributes(attribute.Int("late", 1)); s.AddEvent("late"); s.End() }},
		{name: "ended at a time", does: func(s trace.Span) { s.End(trace.WithTimestamp(then)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", test.sampler)
			test.m.Topic = "pageviews"
			out := racecar.ProducerMessage{Topic: "places", Key: test.m.Key, Value: test.m.Value, Headers: test.m.Headers}
			spans := func(quickly bool) tracetest.SpanStubs {
				tr, exported := newTracer(t)
				if !quickly {
					tr.quick = nil
				}
				ctx, end := tr.ProcessMessage(t.Context(), racecar.Worker{Consumer: "C", Group: "g"}, &test.m)
				s := trace.SpanFromContext(ctx)
				if _, quick := s.(*span); quick != quickly {
					t.Fatalf("the span is a %T", s)
				}
				if !s.IsRecording() || !s.SpanContext().IsSampled() || s.SpanContext().IsRemote() || s.TracerProvider() != tr.provider {
					t.Errorf("span %v", s.SpanContext())
				}
				if test.does != nil {
					test.does(s)
				}
				produced := out
				sent := tr.Produce(ctx, &produced)
				_, child := s.TracerProvider().Tracer("consumer").Start(ctx, "look up")
				child.End()
				end(test.err)
				sent(7, 8, test.err)
				if s.IsRecording() {
					t.Error("an ended span records")
				}
				s.SetName("too late")
				s.End()
				return exported()
			}
			got, want := spans(true), spans(false)
			if len(got) != 3 {
				t.Fatalf("%d spans", len(got))
			}
			for i := range got {
				if got[i].StartTime.After(got[i].EndTime) {
					t.Errorf("%s begins %v and ends %v", got[i].Name, got[i].StartTime, got[i].EndTime)
				}
			}
			same(got)
			same(want)
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b trace.SpanContext) bool { return a.Equal(b) }), cmp.AllowUnexported(attribute.Value{}),
				cmp.Comparer(func(a, b attribute.Value) bool { return a.Type() == b.Type() && a.String() == b.String() }), cmp.Comparer(func(a, b *resource.Resource) bool { return a.Equal(b) }),
				cmp.Comparer(func(a, b attribute.Set) bool { return a.Equals(&b) }), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("SDK's -, ours +:\n%s", diff)
			}
		})
	}
}

// same replaces what differs from run to run by what does not: ids drawn by their
// place among the spans, times but for those that were set.
func same(spans tracetest.SpanStubs) {
	drawn := map[trace.SpanID]trace.SpanID{}
	for i, s := range spans {
		drawn[s.SpanContext.SpanID()] = trace.SpanID{byte(i + 1)}
	}
	known, _ := parseTraceparent([]byte(aParent))
	one := func(c trace.SpanContext) trace.SpanContext {
		if id, ok := drawn[c.SpanID()]; ok {
			c = c.WithSpanID(id)
			if c.TraceID() != known.TraceID() {
				c = c.WithTraceID(trace.TraceID{9})
			}
		}
		return c
	}
	for i := range spans {
		s := &spans[i]
		s.SpanContext, s.Parent = one(s.SpanContext), one(s.Parent)
		for j := range s.Links {
			s.Links[j].SpanContext = one(s.Links[j].SpanContext)
		}
		s.ChildSpanCount = 0 // which span does not count
		s.StartTime = time.Time{}
		if time.Until(s.EndTime) < 0 {
			s.EndTime = time.Time{}
		}
	}
}

// What OTEL_TRACES_SAMPLER is said to decide is what the SDK decides.
func TestSampling(t *testing.T) {
	parents := map[string]string{"none": "", "sampled": aParent, "unsampled": aParent[:len(aParent)-1] + "0"}
	for _, sampler := range []string{
		"", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio", "traceidratio", " Always_On ", "nonsense",
	} {
		for name, parent := range parents {
			t.Run(sampler+" "+name, func(t *testing.T) {
				t.Setenv("OTEL_TRACES_SAMPLER", sampler)
				t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
				tr, exported := newTracer(t)
				ctx, created := tr.extract(t.Context(), with("traceparent", parent))
				if created.IsValid() {
					ctx = trace.ContextWithRemoteSpanContext(ctx, created)
				}
				says := tr.sampling.of(created)
				if says != ask {
					for range 20 { // a ratio would differ
						_, s := tr.spans.Start(ctx, "asked")
						if s.SpanContext().IsSampled() != (says == record) {
							t.Fatalf("the SDK samples: %t, we: %t", s.SpanContext().IsSampled(), says == record)
						}
					}
				}
				ctx, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t", Headers: with("traceparent", parent)})
				end(nil)
				c := trace.SpanContextFromContext(ctx)
				if !c.IsValid() || created.IsValid() && c.TraceID() != created.TraceID() {
					t.Errorf("span %v of %v", c, created)
				}
				out := racecar.ProducerMessage{Topic: "t"}
				tr.Produce(ctx, &out)(0, 0, nil)
				sent, _ := parseTraceparent(out.Headers[0].Value)
				if sent.TraceID() != c.TraceID() || sent.SpanID() == c.SpanID() {
					t.Errorf("produced in %v: %v", c, sent)
				}
				if n := len(exported()); c.IsSampled() && sent.IsSampled() && n != 2 || !c.IsSampled() && !sent.IsSampled() && n != 0 {
					t.Errorf("%d spans exported", n)
				}
			})
		}
	}
}

// Unusual limits are kept.
func TestSpanLimits(t *testing.T) {
	for variable, kept := range map[string]func(tracetest.SpanStub) bool{
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT":        func(s tracetest.SpanStub) bool { return len(s.Attributes) == 1 && s.DroppedAttributes > 5 },
		"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT":      func(s tracetest.SpanStub) bool { return s.Attributes[0].Value.AsString() == "k" },
		"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": func(s tracetest.SpanStub) bool { return s.Attributes[0].Value.AsString() == "k" },
		"OTEL_SPAN_LINK_COUNT_LIMIT":             func(s tracetest.SpanStub) bool { return len(s.Links) == 1 },
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "1")
			tr, exported := newTracer(t)
			_, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t", Headers: with("traceparent", aParent)})
			end(nil)
			if s := exported(); tr.quick != nil || len(s) != 1 || !kept(s[0]) {
				t.Errorf("exported %+v", s)
			}
		})
	}
}

// A consumer's goroutines may go on with a span while its call returns.
func TestSpanOfSeveralGoroutines(t *testing.T) {
	tr, exported := newTracer(t)
	const messages = 50
	for range messages {
		ctx, end := tr.ProcessMessage(t.Context(), racecar.Worker{}, &racecar.Message{Topic: "t"})
		s := trace.SpanFromContext(ctx)
		var all sync.WaitGroup
		for _, does := range []func(){
			func() { s.SetAttributes(attribute.Int("a", 1)) },
			func() { s.AddEvent("e") },
			func() { s.SetAttributes(attribute.Int("b", 1)) },
			func() { _ = s.IsRecording() },
			func() { end(nil) },
		} {
			all.Go(does)
		}
		all.Wait()
	}
	if n := len(exported()); n != messages {
		t.Errorf("%d spans, want %d", n, messages)
	}
}
