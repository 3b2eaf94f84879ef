package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

type spanKey struct{}

// tracing puts a value into the ctx of each call, as a tracer puts its span.
type tracing struct{ racecar.Tracer }

func (tracing) Start(*racecar.Config, *slog.Logger) error { return nil }
func (tracing) Flush(context.Context) error               { return nil }
func (tracing) ProcessMessage(ctx context.Context, _ racecar.Worker, m *racecar.Message) (context.Context, func(error)) {
	return context.WithValue(ctx, spanKey{}, m.Offset), func(error) {}
}
func (tracing) ProcessBatch(ctx context.Context, _ racecar.Worker, ms []*racecar.Message) (context.Context, func(error)) {
	return context.WithValue(ctx, spanKey{}, ms[0].Offset), func(error) {}
}

// ctxHook notes the span in the ctx of each line of a level.
type ctxHook struct{ spans chan any }

func (ctxHook) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }
func (h ctxHook) Fire(e *logrus.Entry) error {
	if e.Message == "message skipped" && e.Context != nil {
		h.spans <- e.Context.Value(spanKey{})
	}
	return nil
}

// Reports and log lines of a failed call carry the call's span.
func TestFailuresCarryTheirSpan(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Offset == 1 {
				return racecar.Skip(errors.New("not this one"))
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	reported, hook := make(chan any, 10), ctxHook{make(chan any, 10)}
	cfg.OnError = func(ctx context.Context, _ error, _ racecar.ErrorInfo) { reported <- ctx.Value(spanKey{}) }
	s := start(t, reg, cfg, func(o *Options) {
		o.Tracer = tracing{}
		o.Log.AddHook(hook)
	})
	for name, spans := range map[string]chan any{"OnError": reported, "the log": hook.spans} {
		select {
		case got := <-spans:
			if got != int64(1) {
				t.Errorf("%s: %v", name, got)
			}
		case <-time.After(patient):
			t.Fatalf("%s: nothing", name)
		}
	}
	s.stop()
}
