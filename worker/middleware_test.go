package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// What a middleware returns, or panics with, is the call's result: it is retried, skipped and
// counted like the consumer's own, inside of the span.
func TestMiddlewareFailsLikeItsConsumer(t *testing.T) {
	for _, shape := range []string{"Process", "ProcessBatch"} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(4)...)
			var mu sync.Mutex
			var diary []string
			rec := newRecorder()
			outcomes := map[string]func(){ // of the middleware, by offset and attempt
				"0/0": func() { panic("broken middleware") },
				"1/0": func() { panic(racecar.Skip(errors.New("unwanted"))) },
			}
			failing := func(next racecar.Handler) racecar.Handler {
				return func(ctx context.Context, ms []*racecar.Message) (err error) {
					m := ms[0]
					mu.Lock()
					diary = append(diary, fmt.Sprintf("%d/%d", m.Offset, m.Retries))
					mu.Unlock()
					if f := outcomes[fmt.Sprintf("%d/%d", m.Offset, m.Retries)]; f != nil {
						f()
					}
					if m.Offset == 2 && m.Retries == 0 {
						return errors.New("refused")
					}
					return next(ctx, ms)
				}
			}
			process := func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Use: []func(racecar.Handler) racecar.Handler{failing}}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) { return &processor{process: process}, nil })
			if shape == "ProcessBatch" {
				reg = batchRegistration(t, spec, func(ctx context.Context, ms []*racecar.Message) error { return process(ctx, ms[0]) })
			}
			cfg := testConfig(b, group)
			cfg.FetchMessages = 1
			reports := make(chan string, 10)
			cfg.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { reports <- err.Error() }
			spans := make(chan any, 20)
			s := start(t, reg, cfg, func(o *Options) {
				o.Tracer = tracing{}
				o.Middlewares = []func(racecar.Handler) racecar.Handler{func(next racecar.Handler) racecar.Handler {
					return func(ctx context.Context, ms []*racecar.Message) error {
						spans <- ctx.Value(spanKey{})
						return next(ctx, ms)
					}
				}}
			})
			rec.await(t, 3)
			s.stop()
			mu.Lock()
			defer mu.Unlock()
			if got, want := strings.Join(diary, " "), "0/0 0/1 1/0 2/0 2/1 3/0"; got != want {
				t.Errorf("calls %s, want %s", got, want)
			}
			for _, want := range []string{"panic: broken middleware", "panic: unwanted", "refused"} {
				if got := <-reports; got != want {
					t.Errorf("reported %q, want %q", got, want)
				}
			}
			if got := <-spans; got != int64(0) {
				t.Errorf("span %v of the first call", got)
			}
		})
	}
}

// A middleware that leaves out messages of a batch loses none: the batch is retried.
func TestMiddlewareLosesNoMessage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	rec := newRecorder()
	dropped := false
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Use: []func(racecar.Handler) racecar.Handler{func(next racecar.Handler) racecar.Handler {
		return func(ctx context.Context, ms []*racecar.Message) error {
			if !dropped {
				dropped = true
				_ = next(ctx, nil) // swallowed
				return nil
			}
			return next(ctx, ms)
		}
	}}}
	reg := batchRegistration(t, spec, func(_ context.Context, ms []*racecar.Message) error {
		for _, m := range ms {
			rec.add(m)
		}
		return nil
	})
	cfg := testConfig(b, group)
	reports := make(chan error, 10)
	cfg.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { reports <- err }
	s := start(t, reg, cfg)
	rec.await(t, 3)
	s.stop()
	if err := <-reports; !strings.Contains(err.Error(), "a middleware has handed on 0 messages of a call with") {
		t.Errorf("reported %v", err)
	}
}

// A middleware that cannot be built is the constructor's error; one that is registered
// after the start stops the worker permanently.
func TestMiddlewareMistakesEndTheWorker(t *testing.T) {
	b := testbroker.New(t)
	for name, tc := range map[string]struct {
		use       func(racecar.Handler) racecar.Handler
		late      bool
		reason    string
		permanent bool
	}{
		"nil handler": {use: func(racecar.Handler) racecar.Handler { return nil }, reason: "returned a nil Handler"},
		"panic":       {use: func(racecar.Handler) racecar.Handler { panic("broken middleware") }, reason: "panic: broken middleware"},
		"late":        {use: func(next racecar.Handler) racecar.Handler { return next }, late: true, reason: "app.go:1: Use is called after the start", permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mistakes := []error{errors.New("of another consumer, known at the start")}
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: b.Topic(1)}}, Use: []func(racecar.Handler) racecar.Handler{tc.use}}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
				if tc.late {
					mistakes = append(mistakes, errors.New("app.go:1: Use is called after the start"))
				}
				return &processor{process: func(context.Context, *racecar.Message) error { return nil }}, nil
			})
			s := start(t, reg, testConfig(b, b.Group()), func(o *Options) { o.Mistakes = func() []error { return mistakes } })
			code := s.awaitExit()
			report := s.exitReport()
			if !strings.Contains(report.Reason, tc.reason) || strings.Contains(report.Reason, "known at the start") || report.Permanent != tc.permanent {
				t.Errorf("exit reason %+v", report)
			}
			if want := map[bool]int{true: wire.ExitPermanent, false: wire.ExitCrash}[tc.permanent]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}
