package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// An OnError that does not come back holds up its partition, and nobody would see it: the
// worker ends, as for a hook.
func TestOnErrorThatHangs(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	b.Produce(from, 0, values(1)...)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(context.Context, *racecar.Message) error { return context.DeadlineExceeded }}, nil
	})
	cfg := testConfig(b, group)
	cfg.MaxPollInterval, cfg.ShutdownTimeout = 500*time.Millisecond, time.Second
	cfg.HeartbeatInterval = 50 * time.Millisecond
	cfg.OnError = func(context.Context, error, racecar.ErrorInfo) { <-hang }
	s := start(t, reg, cfg)
	if code := s.awaitExit(); code != wire.ExitCrash {
		t.Errorf("exit code %d", code)
	}
	if last := s.exitReport(); !strings.Contains(last.Reason, "OnError takes longer than max_poll_interval (500ms)") {
		t.Errorf("last words %+v", last)
	}
}

// Whatever consumer code hangs, a worker whose supervisor is gone, or one without a
// supervisor that is to stop, ends in its time.
func TestStopWhileConsumerCodeHangs(t *testing.T) {
	for _, what := range []string{"constructor", "Process", "OnPartitionsRevoked", "Teardown", "OnError"} {
		for _, inline := range []bool{false, true} {
			t.Run(what+map[bool]string{false: ", orphan", true: ", inline"}[inline], func(t *testing.T) {
				t.Parallel()
				b := testbroker.New(t)
				from, group := b.Topic(1), b.Group()
				b.Produce(from, 0, values(1)...)
				hang, hangs := make(chan struct{}), make(chan struct{}, 10)
				t.Cleanup(func() { close(hang) })
				here := func(name string) {
					if name == what {
						hangs <- struct{}{}
						<-hang
					}
				}
				rec := newRecorder()
				reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(racecar.Runtime) (*processor, error) {
					here("constructor")
					return &processor{
						process: func(_ context.Context, m *racecar.Message) error {
							rec.add(m)
							here("Process")
							if what == "OnError" {
								return context.DeadlineExceeded
							}
							return nil
						},
						revoked:  func(racecar.Assignment) { here("OnPartitionsRevoked") },
						teardown: func() { here("Teardown") },
					}, nil
				})
				cfg := testConfig(b, group)
				cfg.ShutdownTimeout = 7 * time.Second
				cfg.OnError = func(context.Context, error, racecar.ErrorInfo) { here("OnError") }
				ended := make(chan struct{})
				var stop func()
				if inline {
					ctx, cancel := context.WithCancel(context.Background())
					go func() { defer close(ended); Run(ctx, inlineOptions(t, reg, cfg)) }()
					stop = cancel
				} else {
					s := start(t, reg, cfg)
					go func() {
						defer close(ended)
						s.mu.Lock()
						defer s.mu.Unlock()
						for !s.exited {
							s.cond.Wait()
						}
					}()
					stop = func() { _ = s.raw.Close() }
				}
				if what == "OnPartitionsRevoked" || what == "Teardown" {
					rec.await(t, 1)
				} else {
					<-hangs
				}
				began := time.Now()
				stop()
				select {
				case <-ended:
					t.Logf("ended after %v", time.Since(began))
				case <-time.After(14 * time.Second):
					t.Error("it has not ended after 14 s")
				}
			})
		}
	}
}
