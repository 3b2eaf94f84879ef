package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// BenchmarkKeys measures messages a second of calls that take 20 ms, 50 at a time: 2,500 are
// possible. failing is how many of the keys fail for as long as it runs.
func BenchmarkKeys(b *testing.B) {
	for _, test := range []struct {
		name                      string
		partitions, keys, failing int
	}{
		{"1 partition, 1000 keys", 1, 1000, 0},
		{"1 partition, 10000 keys, 1 fails", 1, 10_000, 1},
		{"12 partitions, 5% of the keys fail", 12, 2000, 100},
	} {
		b.Run(test.name, func(b *testing.B) {
			const messages = 15_000
			broker := testbroker.New(b)
			topic, group := broker.Topic(int32(test.partitions)), broker.Group()
			var keys []string
			for i := range test.keys {
				keys = append(keys, fmt.Sprint("key-", i))
			}
			for p := range int32(test.partitions) {
				produceWithKeys(b, broker, topic, p, messages/test.partitions, keys...)
			}
			l := newLaneLog(b)
			l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
				var key int
				if _, err := fmt.Sscanf(string(m.Key), "key-%d", &key); err != nil {
					b.Error(err)
				}
				<-time.After(20 * time.Millisecond)
				if key < test.failing {
					return errors.New("down")
				}
				return nil
			}
			cfg := laneConfig(broker, group, 50)
			cfg.PauseTimeout = 10 * time.Second
			s := start(b, l.register(subscribed(topic)), cfg)
			want := messages * (test.keys - test.failing) / test.keys * 9 / 10
			l.await("messages", func() bool { return l.done >= 500 })
			l.mu.Lock()
			began, first := time.Now(), l.done
			l.mu.Unlock()
			l.await("messages", func() bool { return l.done >= want })
			b.ReportMetric(float64(want-first)/time.Since(began).Seconds(), "messages/s")
			if code := s.stop(); code != wire.ExitOK {
				b.Errorf("exit code %d", code)
			}
		})
	}
}
