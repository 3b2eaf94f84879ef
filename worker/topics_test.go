package worker

import (
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// Partitions that are added are consumed within twice
// topic_metadata_refresh_interval, also after the group's leader was restarted:
// Kafka then gives it its old place back without telling it that it leads, and
// nobody of sarama's looks for partitions any more.
func TestPartitionsAddedAfterTheLeaderRestarted(t *testing.T) {
	const interval = 2 * time.Second
	for _, strategy := range []string{"range", "sticky", "cooperative-sticky"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			b.Produce(topic, 0, "a")
			b.Produce(topic, 1, "b")
			rec := newRecorder()
			reg := one(t, topic, recording(rec))
			cfg := testConfig(b, group)
			cfg.PartitionAssignmentStrategy = []string{strategy}
			cfg.TopicMetadataRefreshInterval = interval
			leader := start(t, reg, cfg) // the first to join
			leader.running()
			second := start(t, reg, cfg, withIndex(1))
			waitFor(t, "a partition for each", func() bool {
				return len(leader.status().Partitions) == 1 && len(second.status().Partitions) == 1
			})
			rec.await(t, 2)
			before := leader.status().Places[0].Generation

			// Its place is kept, as when it was killed.
			if err := leader.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second}); err != nil {
				t.Fatal(err)
			}
			if code := leader.awaitExit(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			leader = start(t, reg, cfg)
			leader.running()
			if g := leader.status().Places[0].Generation; b.Real() && g != before {
				t.Errorf("generation %d after %d: the leader's restart rebalanced the group, which is another test", g, before)
			}

			b.AddPartitions(topic, 4)
			began := time.Now()
			b.Produce(topic, 2, "c")
			b.Produce(topic, 3, "d")
			rec.await(t, 4)
			took := time.Since(began)
			t.Logf("consumed after %v", took)
			if took > seeds.AtMost(2*interval) {
				t.Errorf("added partitions were consumed after %v, more than twice the interval of %v", took, interval)
			}
			for _, s := range []*supervisor{leader, second} {
				if code := s.stop(); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
			}
		})
	}
}
