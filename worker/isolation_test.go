package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// While one partition is stuck, paused or failing, all of the other one on the same
// broker is processed. In a plain sarama loop it would stand still: sarama waits
// until every partition has taken its part of a fetch.
func TestStuckPartitionHoldsUpNoOther(t *testing.T) {
	const messages = 20_000
	b := testbroker.New(t)
	topic := b.Topic(2)
	fill(t, b, topic, 2, 2*messages)
	stuck := make(chan struct{})
	for name, c := range map[string]struct {
		concurrency int
		p0          func(context.Context) error
		pause       bool
	}{
		"stuck":           {2, func(ctx context.Context) error { <-stuck; return nil }, false},
		"failing":         {1, func(context.Context) error { return errors.New("bad") }, false},
		"paused":          {1, func(context.Context) error { return nil }, true},
		"paused for ever": {2, func(context.Context) error { return racecar.RetryAfter(errors.New("bad"), time.Hour) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					if m.Partition == 0 {
						return c.p0(ctx)
					}
					rec.add(m)
					return nil
				}}, nil
			})
			cfg := testConfig(b, b.Group())
			cfg.Concurrency, cfg.PauseTimeout = c.concurrency, time.Minute
			s := start(t, reg, cfg, func(o *Options) {
				if c.pause {
					o.Handshake.Paused = []wire.Partition{{Topic: topic, Partition: 0}}
				}
			})
			rec.await(t, messages)
			if name == "stuck" {
				close(stuck)
			}
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			wantUpTo(t, rec.offsets(tp{topic, 1}), messages)
		})
	}
}

// Failing partitions may hold all the memory there is for messages: the others are
// fetched nevertheless.
func TestFailingPartitionsDoNotEatTheBudget(t *testing.T) {
	const partitions, good = 12, 5
	b := testbroker.New(t)
	topic := b.Topic(partitions)
	large := strings.Repeat("x", 64<<10)
	for p := range int32(partitions) {
		var vs []string
		for range 32 { // 2 MiB each
			vs = append(vs, large)
		}
		b.Produce(topic, p, vs...)
	}
	rec := newRecorder()
	cfg := testConfig(b, b.Group())
	cfg.MaxBytes, cfg.PauseTimeout = 1<<20, time.Hour
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Partition != good {
			return errors.New("bad")
		}
		rec.add(m)
		return nil
	}), cfg)
	rec.await(t, 32)
	b.Produce(topic, good, large, large)
	rec.await(t, 34)
	s.stop()
}

// A slow partition beside a fast one: the fast one keeps 90 % of its rate (a plain
// sarama loop: 15 %). Rates depend on what else the machine does, so the best of
// three pairs counts.
func TestSlowPartitionHoldsUpNoOther(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("measures rates")
	}
	const messages = 30_000
	b := testbroker.New(t)
	topic := b.Topic(2)
	fill(t, b, topic, 2, 2*messages)
	// fast is how long p1 takes, in a worker whose p0 is treated so.
	fast := func(p0 func() error, paused bool) time.Duration {
		var n atomic.Int64
		done := make(chan struct{})
		began := make(chan time.Time, 1)
		reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
			return &processor{process: func(_ context.Context, m *racecar.Message) error {
				if m.Partition == 0 {
					return p0()
				}
				switch n.Add(1) {
				case 1:
					began <- time.Now()
				case messages:
					close(done)
				}
				spin(20 * time.Microsecond) // so that the rate is ours, not the broker's
				return nil
			}}, nil
		})
		cfg := testConfig(b, b.Group())
		cfg.Concurrency = 2
		cfg.MaxWaitTime = time.Second
		s := start(t, reg, cfg, func(o *Options) {
			if paused {
				o.Handshake.Paused = []wire.Partition{{Topic: topic, Partition: 0}}
			}
		})
		select {
		case <-done:
		case <-time.After(patient):
			t.Fatalf("p1 got %d of %d messages", n.Load(), messages)
		}
		took := time.Since(<-began)
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
		return took
	}
	best := 0.0
	for range 6 {
		solo := fast(func() error { return nil }, true)
		beside := fast(func() error {
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // this is what a slow consumer is
			return nil
		}, false)
		rate := solo.Seconds() / beside.Seconds()
		t.Logf("alone %v, beside a slow one %v: %.0f %%", solo, beside, 100*rate)
		if best = max(best, rate); best >= 0.9 {
			return
		}
	}
	t.Errorf("beside a slow partition the fast one has %.0f %% of its rate", 100*best)
}

// spin uses the processor for d.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}
