package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// Partitions that are added are consumed within twice
// topic_metadata_refresh_interval, also after the group's leader was restarted:
// Kafka then lets it continue its membership without telling it that it leads, and
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
			before := leader.status().Members[0].Generation

			// Its membership is kept, as when it was killed.
			if err := leader.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second}); err != nil {
				t.Fatal(err)
			}
			if code := leader.awaitExit(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			leader = start(t, reg, cfg)
			leader.running()
			if g := leader.status().Members[0].Generation; b.Real() && g != before {
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

// A topic that appears later is subscribed to by every member, whatever the strategy:
// when the one that found it goes, the others take its partitions.
func TestEveryMemberSubscribesToALaterTopic(t *testing.T) {
	for _, strategy := range []string{"range", "cooperative-sticky"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			prefix, group := b.Topic(4), b.Group()
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{TopicPattern: prefix + ".*"}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: recording(rec)}, nil
			})
			cfg := testConfig(b, group)
			cfg.PartitionAssignmentStrategy = []string{strategy}
			cfg.TopicMetadataRefreshInterval = 2 * time.Second
			workers := []*supervisor{start(t, reg, cfg), start(t, reg, cfg, withIndex(1))}
			for _, s := range workers {
				s.running()
			}
			waitFor(t, "two members with partitions", func() bool {
				return len(workers[0].status().Partitions) == 2 && len(workers[1].status().Partitions) == 2
			})
			later := prefix + "-later"
			b.CreateTopic(later, 1)
			b.Produce(later, 0, "a")
			rec.await(t, 1)
			holder := 0
			for i, s := range workers {
				for _, p := range s.status().Partitions {
					if p.Topic == later {
						holder = i
					}
				}
			}
			workers[holder].stop()
			b.Produce(later, 0, "b")
			rec.await(t, 2)
			workers[1-holder].stop()
		})
	}
}

// A topic that is deleted and created again is another one: it is processed from its
// beginning, whatever the position in the old one was, and that is reported.
func TestRecreatedTopic(t *testing.T) {
	for name, test := range map[string]struct {
		n     int
		start racecar.StartFrom
	}{"shorter": {10, racecar.Beginning}, "longer": {300, racecar.Beginning}, "longer, from the end": {300, racecar.End}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, other, group := b.Topic(1), b.Topic(1), b.Group()
			var mu sync.Mutex
			seen := map[string]bool{}
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic, StartFrom: test.start}, {Topic: other}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error {
					mu.Lock()
					seen[string(m.Value)] = true
					mu.Unlock()
					rec.add(m)
					return nil
				}}, nil
			})
			cfg := testConfig(b, group)
			cfg.TopicMetadataRefreshInterval = 2 * time.Second
			s := start(t, reg, cfg)
			s.running()
			b.Produce(topic, 0, values(100)...)
			rec.await(t, 100)
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 100 })
			b.DeleteTopic(topic)
			b.CreateTopic(topic, 1)
			var fresh []string
			for i := range test.n {
				fresh = append(fresh, fmt.Sprintf("fresh-%d", i))
			}
			b.Produce(topic, 0, fresh...)
			waitFor(t, "all messages of the new topic", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return !slices.ContainsFunc(fresh, func(v string) bool { return !seen[v] })
			})
			waitFor(t, "the commit in the new topic", func() bool { return b.Committed(group, topic, 0) == int64(test.n) })
			if got := s.status().Counters[status.CountOffsetGaps]; got == 0 {
				t.Error("nothing was reported")
			}
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
