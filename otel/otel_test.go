package otel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	proto "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// receiver receives spans as a collector does, by OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*proto.Span
	services []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, protobuf.Unmarshal(body, &m)); err != nil {
			t.Error(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, of := range m.ResourceSpans {
			for _, a := range of.Resource.Attributes {
				if a.Key == "service.name" {
					r.services = append(r.services, a.Value.GetStringValue())
				}
			}
			for _, s := range of.ScopeSpans {
				r.spans = append(r.spans, s.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// named returns the spans of that name.
func (r *receiver) named(name string) []*proto.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.spans), func(s *proto.Span) bool { return s.Name != name })
}

// attributes of a span as "key=value", strings and numbers alike.
func attributes(s *proto.Span) map[string]string {
	m := map[string]string{}
	for _, a := range s.Attributes {
		v := a.Value.String()
		m[a.Key] = strings.Trim(v[strings.Index(v, ":")+1:], `"`)
	}
	return m
}

type geoCoder struct{ out racecar.Producer }

func (g *geoCoder) Process(ctx context.Context, m *racecar.Message) error {
	if string(m.Value) == "bad" && m.Retries == 0 {
		return errors.New("no such place")
	}
	if string(m.Value) == "panic" && m.Retries == 0 {
		panic("lost")
	}
	return g.out.Produce(ctx, racecar.ProducerMessage{Topic: "places", Key: m.Key, Value: m.Value})
}

type archive struct{}

func (archive) ProcessBatch(context.Context, []*racecar.Message) error { return nil }

// A trace that begins in a web handler, for example, continues through two consumers. The
// usual variables name an OTLP collector.
func TestTraceThroughConsumers(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	racecar.Trace(&tracer{}) // with -count, the one before has started already
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	b := racecartest.NewBroker(t)
	b.Topic("pageviews", 1)
	b.Topic("places", 1)
	b.Topic("bans", 1)
	header := racecar.Header{Key: "traceparent", Value: []byte("00-" + trace + "-" + parent + "-01")}
	for _, v := range []string{"good", "bad", "panic"} {
		b.Produce(racecar.ProducerMessage{Topic: "pageviews", Key: []byte("k"), Value: []byte(v), Headers: []racecar.Header{header}})
	}
	w := racecartest.RunWorker(t, b, func(rt racecar.Runtime) (*geoCoder, error) { return &geoCoder{rt.Producer}, nil }, racecartest.WithSpec(racecar.Spec{Name: "GeoCoder", GroupID: "geo", Subscriptions: []racecar.Subscription{{Topic: "pageviews"}}}))
	b.WaitConsumed("geo", "pageviews")
	w.Stop()
	for _, m := range b.Messages("places") {
		if h, ok := m.Header("traceparent"); !ok || !strings.HasPrefix(string(h), "00-"+trace+"-") {
			t.Errorf("%s has traceparent %q", m.Value, h)
		}
	}
	w = racecartest.RunWorker(t, b, func(racecar.Runtime) (archive, error) { return archive{}, nil }, racecartest.WithSpec(racecar.Spec{Name: "Archive", GroupID: "archive", Subscriptions: []racecar.Subscription{{Topic: "places"}}}))
	b.WaitConsumed("archive", "places")
	w.Stop()
	// What a web handler produces.
	p, err := racecar.NewStandaloneProducer(t.Context(), &racecar.Config{Brokers: b.Addrs(), ClientID: "web", MessageTimeout: time.Minute, SocketTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	inHandler := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": string(header.Value)})
	if err := p.ProduceSync(inHandler, racecar.ProducerMessage{Topic: "bans", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := p.ProduceAsync(inHandler, racecar.ProducerMessage{Topic: "bans", Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	started, err := registered.StartTracer(&racecar.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := started.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	var failed, retried int
	calls := r.named("process pageviews")
	for _, s := range calls {
		if s.Kind != proto.Span_SPAN_KIND_CONSUMER || hex(s.TraceId) != trace || hex(s.ParentSpanId) != parent || len(s.Links) != 1 || hex(s.Links[0].SpanId) != parent {
			t.Errorf("span %v is no child of and linked to the producer's", s)
		}
		got := attributes(s)
		if got["error.type"] != "" {
			failed++
			if s.Status.GetCode() != proto.Status_STATUS_CODE_ERROR || s.Status.Message == "" {
				t.Errorf("status of a failed call: %v", s.Status)
			}
		}
		if got["racecar.retries"] == "1" {
			retried++
		}
		for k, want := range map[string]string{
			"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
			"messaging.destination.name": "pageviews", "messaging.destination.partition.id": "0",
			"messaging.consumer.group.name": "geo", "messaging.client.id": "racecar", "messaging.kafka.message.key": "k",
		} {
			if got[k] != want {
				t.Errorf("%s is %q, want %q", k, got[k], want)
			}
		}
		if got["messaging.kafka.offset"] == "" || got["messaging.message.body.size"] == "" {
			t.Errorf("offset or size is missing: %v", got)
		}
	}
	if len(calls) != 5 || failed != 2 || retried != 2 {
		t.Errorf("%d calls, %d failed, %d retried; want 5, 2, 2", len(calls), failed, retried)
	}

	if bans := r.named("send bans"); len(bans) != 2 || hex(bans[0].ParentSpanId) != parent || hex(bans[1].ParentSpanId) != parent || attributes(bans[0])["messaging.kafka.offset"] != "0" {
		t.Errorf("spans of a standalone producer: %v", bans)
	}

	sends := map[string]bool{}
	for _, s := range r.named("send places") {
		if s.Kind != proto.Span_SPAN_KIND_PRODUCER || hex(s.TraceId) != trace {
			t.Errorf("span %v", s)
		}
		if !slices.ContainsFunc(calls, func(c *proto.Span) bool { return hex(c.SpanId) == hex(s.ParentSpanId) }) {
			t.Errorf("span %v is no child of a call", s)
		}
		if got := attributes(s); got["messaging.kafka.offset"] == "" || got["messaging.operation.type"] != "send" {
			t.Errorf("attributes %v", got)
		}
		sends[hex(s.SpanId)] = true
	}
	if len(sends) != 3 {
		t.Errorf("%d messages sent, want 3", len(sends))
	}
	linked := 0
	for _, s := range r.named("process places") {
		for _, l := range s.Links {
			if sends[hex(l.SpanId)] {
				linked++
			}
		}
		if len(s.ParentSpanId) > 0 || attributes(s)["messaging.batch.message_count"] == "" {
			t.Errorf("span of a batch: %v", s)
		}
	}
	if linked != 3 {
		t.Errorf("batches are linked to %d messages, want 3", linked)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.services, "geo") {
		t.Errorf("services %q, want the group id", r.services)
	}
}

func hex(id []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, b := range id {
		s.WriteByte(digits[b>>4])
		s.WriteByte(digits[b&15])
	}
	return s.String()
}
