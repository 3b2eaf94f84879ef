package consumers

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	api "go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// memory is a cache in memory.
type memory struct {
	kept map[string]string
	away bool
}

func (m *memory) Get(_ context.Context, key string) *redis.StringCmd {
	country, ok := m.kept[key]
	switch {
	case m.away:
		return redis.NewStringResult("", io.ErrUnexpectedEOF)
	case !ok:
		return redis.NewStringResult("", redis.Nil)
	}
	return redis.NewStringResult(country, nil)
}

func (m *memory) Set(_ context.Context, key string, value any, _ time.Duration) *redis.StatusCmd {
	if m.away {
		return redis.NewStatusResult("", io.ErrUnexpectedEOF)
	}
	m.kept[key] = value.(string)
	return redis.NewStatusResult("OK", nil)
}

// countries is the service. It knows one address and notes the traces that ask.
type countries struct {
	*httptest.Server
	traces []string
}

func newCountries(t *testing.T) *countries {
	s := &countries{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.traces = append(s.traces, r.Header.Get("traceparent"))
		switch r.URL.Path {
		case "/countries/192.0.2.1":
			_, _ = io.WriteString(w, "Iceland")
		case "/countries/192.0.2.2":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func run(t *testing.T, service string, m *memory, values ...string) racecartest.Result {
	t.Helper()
	var visits []*racecar.Message
	for i, v := range values {
		visits = append(visits, &racecar.Message{Topic: "visits", Offset: int64(i), Value: []byte(v)})
	}
	return racecartest.Run(t, func(rt racecar.Runtime) (*VisitConsumer, error) { return &VisitConsumer{rt, m, service}, nil }, visits, racecartest.WithoutSetup())
}

func TestVisits(t *testing.T) {
	s, m := newCountries(t), &memory{kept: map[string]string{}}
	r := run(t, s.URL, m, `{"ip":"192.0.2.1"}`, `{"ip":"192.0.2.1"}`, `{"ip":"192.0.2.2"}`, `{"ip":"nowhere"}`, `nothing`)
	for i, want := range []racecartest.Verdict{racecartest.Processed, racecartest.Processed, racecartest.Held, racecartest.DeadLettered, racecartest.DeadLettered} {
		if got := racecartest.VerdictOf(r.Errors[i]); got != want {
			t.Errorf("visit %d: %s, want %s (%v)", i, got, want, r.Errors[i])
		}
	}
	if name, held := racecartest.Dependency(r.Errors[2]); !held || name != "countries" {
		t.Errorf("held for %q", name)
	}
	if len(r.Produced) != 2 || string(r.Produced[1].Value) != `{"country":"Iceland","ip":"192.0.2.1"}` || r.Produced[1].Topic != "located-visits" {
		t.Errorf("produced %v", r.Produced)
	}
	if len(s.traces) != 3 { // the second visit came from the cache
		t.Errorf("the service was asked %d times", len(s.traces))
	}
}

// A cache that is away slows visits down, and stops none.
func TestWithoutACache(t *testing.T) {
	r := run(t, newCountries(t).URL, &memory{away: true}, `{"ip":"192.0.2.1"}`)
	if err := r.Err(); err != nil || len(r.Produced) != 1 {
		t.Errorf("produced %v, error %v", r.Produced, err)
	}
}

// The service and the next consumer see the trace of the visit.
func TestTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	api.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	s := newCountries(t)
	r := run(t, s.URL, &memory{kept: map[string]string{}}, `{"ip":"192.0.2.1"}`)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	var process sdk.ReadOnlySpan
	for _, span := range spans.Ended() {
		if span.Name() == "process visits" {
			process = span
		}
	}
	if process == nil {
		t.Fatalf("no span of the call among %d", len(spans.Ended()))
	}
	trace := process.SpanContext().TraceID().String()
	if len(s.traces) != 1 || !strings.Contains(s.traces[0], trace) {
		t.Errorf("the service saw %q, want trace %s", s.traces, trace)
	}
	if h := r.Produced[0].Headers; len(h) != 1 || !strings.Contains(string(h[0].Value), trace) {
		t.Errorf("headers %v of the output, want trace %s", h, trace)
	}
}
