package worker

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// The messages whose output is not acknowledged are bounded in bytes, too.
func TestUnacknowledgedMessagesAreBounded(t *testing.T) {
	const partitions, messages = 4, 100
	for _, transactional := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "transactional"}[transactional], func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			b.Embedded() // its answers can be held
			from, to, group := b.Topic(partitions), b.Topic(1), b.Group()
			value := strings.Repeat("x", 100_000)
			for n := range int32(partitions) {
				for range messages / 5 {
					b.Produce(from, n, value, value, value, value, value)
				}
			}
			h := holdProduce(b)
			t.Cleanup(h.release)
			go func() {
				for range h.seen { //nolint:revive // it is not to block
				}
			}()
			rec := newRecorder()
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
			reg := registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
				p := &processor{out: rt.Producer}
				p.process = func(ctx context.Context, m *racecar.Message) error {
					rec.add(m)
					return p.out.Produce(ctx, racecar.ProducerMessage{Topic: to, Key: bytes.Clone(m.Key), Value: []byte("small")})
				}
				return p, nil
			})
			cfg := testConfig(b, group)
			cfg.MaxBytes, cfg.MessageTimeout = 1<<20, 5*time.Minute
			cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, 1<<20
			s := start(t, reg, cfg)
			rec.await(t, 8)
			if n := rec.settled(t); n > 40 { // half of 2 MiB are ten, and each partition goes on by one
				t.Errorf("%d messages of 100 kB were processed and their output is on its way", n)
			}
			h.release()
			rec.await(t, partitions*messages)
			s.stop()
		})
	}
}

// settled waits until nothing more comes for a second and returns how many came.
func (r *recorder) settled(t testing.TB) int {
	t.Helper()
	last, since := -1, time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		r.mu.Lock()
		n := r.n
		r.mu.Unlock()
		if n != last {
			last, since = n, time.Now()
		} else if time.Since(since) > time.Second {
			return n
		}
	}
	return last
}
