package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A slow, paused or failing partition beside a fast one on the same broker: the
// fast one keeps its rate (a plain sarama loop gets 15 % of it, since sarama waits
// until every partition has taken its part of a fetch).
func TestSlowPartitionHoldsUpNoOther(t *testing.T) {
	const messages, window = 60_000, 3 * time.Second
	b := testbroker.New(t)
	topic := b.Topic(2)
	fill(t, b, topic, 2, 2*messages)
	// fast is how long p1 takes, in a worker whose p0 is treated so.
	fast := func(t *testing.T, p0 func() error, prepare func(*supervisor)) time.Duration {
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
		cfg.PauseTimeout = time.Minute
		s := start(t, reg, cfg)
		if prepare != nil {
			prepare(s)
		}
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
	solo := fast(t, func() error { return nil }, func(s *supervisor) {
		s.command(wire.Command{Kind: wire.CommandPause, Partitions: []wire.Partition{{Topic: topic, Partition: 0}}})
	})
	t.Logf("p1 alone: %v", solo)
	for name, p0 := range map[string]func() error{
		"slow":    func() error { time.Sleep(20 * time.Millisecond); return nil },
		"failing": func() error { return errors.New("bad") },
	} {
		t.Run(name, func(t *testing.T) {
			took := fast(t, p0, nil)
			t.Logf("p1 beside it: %v, %.0f %% of its rate alone", took, 100*solo.Seconds()/took.Seconds())
			if took > solo*100/90+250*time.Millisecond {
				t.Errorf("p1 took %v, alone %v", took, solo)
			}
		})
	}
}

// spin uses the processor for d.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}
