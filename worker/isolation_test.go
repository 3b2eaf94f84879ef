package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// While one partition is stuck, paused or failing, all of the other one on the same
// broker is processed. In a plain sarama loop it would stand still: sarama waits
// until every partition has taken its part of a fetch.
func TestStuckPartitionHoldsUpNoOther(t *testing.T) {
	t.Parallel()
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
			wantUpTo(t, rec.offsets(topicPartition{topic, 1}), messages)
		})
	}
}

// A partition whose queue was full while a call took long loses none of its messages.
func TestAFullQueueLosesNothing(t *testing.T) {
	t.Parallel()
	const messages = 20_000
	b := testbroker.New(t)
	topic := b.Topic(2)
	fill(t, b, topic, 2, 2*messages)
	rec, full := newRecorder(), make(chan struct{})
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			if m.Partition == 0 {
				select {
				case <-full:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			rec.add(m)
			return nil
		}}, nil
	})
	cfg := testConfig(b, b.Group())
	cfg.Concurrency = 2
	s := start(t, reg, cfg)
	rec.await(t, messages) // all of the other one: fetches brought more of this one than may wait
	close(full)
	rec.await(t, 2*messages)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for p := range int32(2) {
		wantUpTo(t, rec.offsets(topicPartition{topic, p}), messages)
	}
}

// Failing partitions may hold all the memory there is for messages: the others are
// fetched nevertheless.
func TestFailingPartitionsDoNotEatTheBudget(t *testing.T) {
	t.Parallel()
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

// Beside a partition that is slow, paused or failing a fast one on the same broker
// keeps 90 % of its rate (in a plain sarama loop beside a slow one: 15 %). Rates
// depend on what else the machine does, so the best time of each counts.
func TestSlowPartitionHoldsUpNoOther(t *testing.T) {
	seeds.Measure(t)
	const messages = 30_000
	b := testbroker.New(t)
	alone, pair := b.Topic(1), b.Topic(2)
	fill(t, b, alone, 1, messages)
	fill(t, b, pair, 2, 2*messages)
	// fast is how long the fast partition takes beside one that is treated so.
	fast := func(topic string, p0 func() error) time.Duration {
		var n atomic.Int64
		done := make(chan struct{})
		began := make(chan time.Time, 1)
		cfg := testConfig(b, b.Group())
		cfg.Concurrency, cfg.MaxWaitTime = 2, time.Second
		s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
			if topic == pair && m.Partition == 0 {
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
		}), cfg, quietly)
		select {
		case <-done:
		case <-time.After(patient):
			t.Fatalf("the fast partition got %d of %d messages", n.Load(), messages)
		}
		took := time.Since(<-began)
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
		return took
	}
	beside := map[string]func() error{
		"slow":    slow,
		"failing": func() error { return errors.New("bad") },
		"paused":  func() error { return racecar.RetryAfter(errors.New("bad"), time.Minute) },
	}
	solo, best := time.Hour, map[string]time.Duration{}
	for range 6 {
		solo = min(solo, fast(alone, nil))
		for what, p0 := range beside {
			took := fast(pair, p0)
			if best[what] == 0 || took < best[what] {
				best[what] = took
			}
		}
		worst := time.Duration(0)
		for what, took := range best {
			t.Logf("alone %v, beside a %s one %v: %.0f %%", solo, what, took, 100*solo.Seconds()/took.Seconds())
			worst = max(worst, took)
		}
		if solo.Seconds()/worst.Seconds() >= 0.9 {
			return
		}
	}
	t.Error("beside another partition the fast one has less than 90 % of its rate")
}

// slow is a call of a slow partition.
func slow() error {
	time.Sleep(20 * time.Millisecond) //nolint:forbidigo // this is what a slow consumer is
	return nil
}

// quietly keeps the log out of what is measured.
func quietly(o *Options) { o.Log.SetLevel(logrus.PanicLevel) }

// A worker that does one thing at a time is never idle while a partition has
// messages, whatever another one on the same broker does.
func TestSerialWorkerIsNeverIdle(t *testing.T) {
	seeds.Measure(t)
	const messages = 20_000
	b := testbroker.New(t)
	topic := b.Topic(2)
	fill(t, b, topic, 2, 2*messages)
	for what, p0 := range map[string]func() error{
		"slow":    slow,
		"failing": func() error { return errors.New("bad") },
		"paused":  func() error { return racecar.RetryAfter(errors.New("bad"), time.Minute) },
	} {
		best := 1.0
		for range 6 {
			var began, last time.Time // one goroutine has all calls
			var idle time.Duration
			n := 0
			done := make(chan float64)
			cfg := testConfig(b, b.Group())
			cfg.MaxWaitTime = time.Second
			s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
				now := time.Now()
				switch {
				case n >= messages:
					return nil
				case n > 0:
					idle += now.Sub(last)
				default:
					began = now
				}
				defer func() { last = time.Now() }()
				if m.Partition == 0 {
					if n == 0 {
						return nil
					}
					return p0()
				}
				spin(20 * time.Microsecond)
				if n++; n == messages {
					done <- idle.Seconds() / time.Since(began).Seconds()
				}
				return nil
			}), cfg, quietly)
			select {
			case share := <-done:
				best = min(best, share)
			case <-time.After(patient):
				t.Fatalf("beside a %s partition the other one is not done after %v", what, patient)
			}
			s.stop()
			if best <= 0.1 {
				break
			}
		}
		t.Logf("beside a %s partition: idle for %.1f %% of the time", what, 100*best)
		if best > 0.1 {
			t.Errorf("beside a %s partition: idle for %.1f %% of the time", what, 100*best)
		}
	}
}

// spin uses the processor for d.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}
