package worker

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// writeTransaction writes values to partition 0 of a topic in a transaction.
func writeTransaction(t testing.TB, b *testbroker.Broker, topic string, how kgo.TransactionEndTry, values ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EndTransaction(t.Context(), how); err != nil {
		t.Fatal(err)
	}
}

// The markers that end transactions, and messages of aborted ones, lie behind the last
// message: the position goes over them, so that no tool takes them for lag, and nothing
// is reported as lost when retention deletes them.
func TestPositionsGoOverMarkers(t *testing.T) {
	t.Parallel()
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, out, group := b.Topic(1), b.Topic(1), b.Group()
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(rt racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					rec.add(m)
					return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: out, Value: m.Value})
				}}, nil
			})
			cfg := testConfig(b, group)
			cfg.TransactionInterval, cfg.TransactionMessages = 50*time.Millisecond, 1000
			writeTransaction(t, b, topic, kgo.TryCommit, "a", "b") // 2 is the marker
			s := start(t, reg, cfg)
			noLag := func(end int64) {
				t.Helper()
				waitFor(t, "a position at the end", func() bool {
					ps := s.status().Partitions
					return b.Committed(group, topic, 0) == end && len(ps) == 1 && ps[0].Lag == 0 && ps[0].Committed == end
				})
			}
			noLag(3)
			writeTransaction(t, b, topic, kgo.TryAbort, "c", "d") // 3, 4, and 5 the marker
			noLag(6)
			b.Produce(topic, 0, "e") // 6
			writeTransaction(t, b, topic, kgo.TryAbort, values(300)...)
			noLag(308)
			b.Produce(topic, 0, "f")
			noLag(309)
			s.stop()
			deleteUpTo(t, b, topic, 309)
			s = start(t, reg, cfg)
			s.running()
			b.Produce(topic, 0, "g")
			noLag(310)
			if got := s.status().Counters[status.CountOffsetGaps]; got != 0 {
				t.Errorf("%d gaps", got)
			}
			s.stop()
			want := []int64{0, 1, 6, 308, 309}
			got := rec.offsets(topicPartition{topic, 0})
			if len(got) != len(want) {
				t.Fatalf("processed %v, want %v", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("processed %v, want %v", got, want)
				}
			}
		})
	}
}
