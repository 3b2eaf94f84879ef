package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// offsetsOf reads and writes a group's offsets from outside.
func offsetsOf(t testing.TB, b *testbroker.Broker, group string, do func(context.Context, *kafka.OffsetClient) error) {
	t.Helper()
	cfg := testConfig(b, group)
	a, err := access.New(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kafka.NewClient(t.Context(), kafka.NewConfig(a))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	o := kafka.NewOffsets(client, group)
	defer o.Close()
	if err := do(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// committedMetadata is what the group has committed beside its offset.
func committedMetadata(t testing.TB, b *testbroker.Broker, group, topic string, partition int32) (metadata string) {
	t.Helper()
	k := kafka.TopicPartition{Topic: topic, Partition: partition}
	offsetsOf(t, b, group, func(ctx context.Context, o *kafka.OffsetClient) error {
		var err error
		waitFor(t, "the end of a transaction", func() bool {
			var got map[kafka.TopicPartition]kafka.Commit
			got, err = o.Fetch(ctx, []kafka.TopicPartition{k})
			metadata = got[k].Metadata
			return !errors.Is(err, sarama.ErrUnstableOffsetCommit)
		})
		return err
	})
	return metadata
}

// commitFor commits an offset with metadata for a group that has no members.
func commitFor(t testing.TB, b *testbroker.Broker, group, topic string, partition int32, offset int64, metadata string) {
	t.Helper()
	offsetsOf(t, b, group, func(ctx context.Context, o *kafka.OffsetClient) error {
		k := kafka.TopicPartition{Topic: topic, Partition: partition}
		failed, err := o.Commit(ctx, kafka.NoMember, map[kafka.TopicPartition]kafka.Commit{k: {Offset: offset, Metadata: metadata}})
		return errors.Join(err, failed[k])
	})
}

func unfinishedCounts(t *testing.T, transactional bool) {
	b := testbroker.New(t)
	topic, out, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	var mu sync.Mutex
	var seen []string // offset and metadata while each message is in hand
	reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			mu.Lock()
			seen = append(seen, fmt.Sprintf("%d: %d %s", m.Offset, b.Committed(group, topic, 0), committedMetadata(t, b, group, topic, 0)))
			mu.Unlock()
			return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: out, Value: m.Value})
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.OffsetCommitInterval, cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, time.Hour, 1000
	commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;2") // two claims did not end
	s := start(t, reg, cfg)
	waitFor(t, "three calls", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 3 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	// Each is called alone, after it was counted at its own position.
	want := []string{"0: 0 racecar:1;0;0;3", "1: 1 racecar:1;1;0;3", "2: 2 racecar:1;2;0;3"}
	if !slices.Equal(seen, want) {
		t.Errorf("while in hand: %q, want %q", seen, want)
	}
	if c := b.Committed(group, topic, 0); c != 3 {
		t.Errorf("committed %d", c)
	}
	if m, err := offsetmap.Decode(committedMetadata(t, b, group, topic, 0)); err != nil || m.Starts > 2 {
		t.Errorf("after a graceful end: %d (%v)", m.Starts, err)
	}
}

// After two claims that did not end, messages are called one by one, each counted at its
// position before it is called.
func TestMessagesAreCountedAfterTwoUnfinishedClaims(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) { t.Parallel(); unfinishedCounts(t, transactional) })
	}
}

// A claim counts itself before anything is processed, and takes that back at a graceful
// end: however many there are in a row, they make no suspect.
func TestGracefulEndsMakeNoSuspect(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			cfg := testConfig(b, group)
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: ignore}, nil
			})
			for range 3 {
				s := start(t, reg, cfg)
				waitFor(t, "the count", func() bool { return committedMetadata(t, b, group, topic, 0) == "racecar:1;0;0;1" })
				s.running()
				if code := s.stop(); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
				if got := committedMetadata(t, b, group, topic, 0); got != "" {
					t.Errorf("after a graceful end: %q", got)
				}
			}
			b.Produce(topic, 0, "a")
			s := start(t, reg, cfg)
			waitFor(t, "the commit", func() bool {
				return b.Committed(group, topic, 0) == 1 && committedMetadata(t, b, group, topic, 0) == ""
			})
			s.stop()
		})
	}
}

// The message at which three claims did not end is dead-lettered, or its partition is
// paused as poisoned; what lies behind it, and other partitions, go on.
func TestThreeUnfinishedClaimsPoisonAMessage(t *testing.T) {
	for name, test := range map[string]struct{ deadLetterTopic, transactional bool }{
		"dead-letter topic":                {true, false},
		"dead-letter topic, transactional": {true, true},
		"none":                             {false, false},
		"none, transactional":              {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			b.Produce(topic, 0, values(5)...)
			b.Produce(topic, 1, values(5)...)
			commitFor(t, b, group, topic, 0, 2, "racecar:1;2;0;3")
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Transactional: test.transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: recording(rec)}, nil
			})
			cfg := testConfig(b, group)
			cfg.TransactionInterval, cfg.TransactionMessages = 50*time.Millisecond, 1000
			if test.deadLetterTopic {
				cfg.DeadLetterTopic = b.Topic(1)
			}
			s := start(t, reg, cfg)
			if test.deadLetterTopic {
				waitFor(t, "what lies behind it", func() bool { return b.Committed(group, topic, 0) == 5 && b.Committed(group, topic, 1) == 5 })
				s.stop()
				if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{3, 4}) {
					t.Errorf("called %v", got)
				}
				if got := readCommitted(t, b, cfg.DeadLetterTopic, 0); !slices.Equal(got, []string{"value-2"}) {
					t.Errorf("dead letters %q", got)
				}
				return
			}
			waitFor(t, "the other partition, and one that is poisoned", func() bool {
				i := slices.IndexFunc(s.status().Partitions, func(p status.Partition) bool { return p.State == status.PartitionPoisoned })
				return i >= 0 && b.Committed(group, topic, 1) == 5
			})
			s.stop()
			if got := committedMetadata(t, b, group, topic, 0); got != "racecar:1;2;0;3" {
				t.Errorf("after a graceful end: %q", got)
			}
			if got := rec.offsets(topicPartition{topic, 0}); len(got) != 0 {
				t.Errorf("called %v", got)
			}
		})
	}
}

// A worker that replaces one of the same supervisor does not count its predecessor, of
// which the supervisor knows what was in hand.
func TestAReplacementDoesNotCountItsPredecessor(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;1")
	s := start(t, one(t, topic, ignore), testConfig(b, group), func(o *Options) {
		o.Handshake.Predecessors = []status.Member{{Group: group, MemberID: "gone"}}
	})
	s.running()
	if got := committedMetadata(t, b, group, topic, 0); got != "racecar:1;0;0;1" {
		t.Errorf("committed %q", got)
	}
	s.stop()
	if got := committedMetadata(t, b, group, topic, 0); got != "" {
		t.Errorf("after a graceful end: %q", got)
	}
}

// How many claims are committed with a position.
func TestUnfinishedClaimsAtPositions(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		u    unfinished
		want map[int64]int // by position
	}{
		"the first":                        {unfinished{begin: 5, count: 1, isolated: -1}, map[int64]int{5: 1, 6: 0}},
		"the first, ended":                 {unfinished{begin: 5, count: 1, isolated: -1, ended: true}, map[int64]int{5: 0, 6: 0}},
		"the second, before any quantum":   {unfinished{begin: 5, found: 1, count: 2, isolated: -1}, map[int64]int{5: 2, 6: 2}},
		"the second, in time":              {unfinished{begin: 5, found: 1, count: 2, isolated: -1, careful: now.Add(1)}, map[int64]int{5: 2, 6: 2}},
		"the second, later":                {unfinished{begin: 5, found: 1, count: 2, isolated: -1, careful: now.Add(-1)}, map[int64]int{5: 2, 6: 0}},
		"the second, ended in time":        {unfinished{begin: 5, found: 1, count: 2, isolated: -1, careful: now.Add(1), ended: true}, map[int64]int{5: 1, 6: 1}},
		"the second, ended later":          {unfinished{begin: 5, found: 1, count: 2, isolated: -1, careful: now.Add(-1), ended: true}, map[int64]int{5: 1, 6: 0}},
		"the third, nothing in hand":       {unfinished{begin: 5, found: 2, count: 2, isolated: -1, careful: now.Add(1)}, map[int64]int{5: 2, 6: 2}},
		"the third, a message in hand":     {unfinished{begin: 5, found: 2, count: 2, isolated: 6, careful: now.Add(1)}, map[int64]int{5: 2, 6: 3, 7: 2}},
		"the fourth, its message blamed":   {unfinished{begin: 5, found: 3, count: 3, isolated: -1, attributed: true}, map[int64]int{5: 3, 6: 0}},
		"the fourth, ended while it waits": {unfinished{begin: 5, found: 3, count: 3, isolated: -1, attributed: true, ended: true}, map[int64]int{5: 3, 6: 0}},
	} {
		for position, want := range c.want {
			if got := c.u.startsAt(position, now); got != want {
				t.Errorf("%s: %d at %d, want %d", name, got, position, want)
			}
		}
	}
}

// A graceful end takes the count of its claim back also where it interrupted the message
// that had been counted: the next claim would take it for a suspect.
func TestInterruptedMessageIsNotCounted(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(2)...)
			commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;2") // two claims did not end
			called := make(chan struct{})
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					if m.Offset == 0 {
						return nil
					}
					close(called)
					<-racecar.Leaving(ctx)
					return errors.New("interrupted")
				}}, nil
			})
			s := start(t, reg, testConfig(b, group))
			<-called
			if got := committedMetadata(t, b, group, topic, 0); got != "racecar:1;1;0;3" {
				t.Errorf("while in hand: %q", got)
			}
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if got := committedMetadata(t, b, group, topic, 0); got != "racecar:1;1;0;2" {
				t.Errorf("after a graceful end: %q", got)
			}
		})
	}
}

// A message that cannot be counted, since the group refuses the partition's offset for
// good, is called all the same.
func TestRefusedCountHoldsUpNoMessage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;2")
	watchRequests(b, kmsg.OffsetCommit, func(_ int, req kmsg.Request) kmsg.Response {
		return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.TopicAuthorizationFailed.Code)
	})
	rec := newRecorder()
	s := start(t, one(t, topic, recording(rec)), testConfig(b, group))
	rec.await(t, 3)
	s.stop()
}

// A message is counted only while it is the one in hand: what kills the process beside it
// is not taken for it.
func TestOnlyTheMessageInHandIsCounted(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			for p := range int32(2) {
				b.Produce(topic, p, values(5)...)
				commitFor(t, b, group, topic, p, 0, "racecar:1;0;0;2")
			}
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error {
					if got := committedMetadata(t, b, group, topic, 1-m.Partition); strings.HasSuffix(got, ";3") {
						t.Errorf("partition %d, offset %d is in hand, and of the other partition %q is committed", m.Partition, m.Offset, got)
					}
					rec.add(m)
					return nil
				}}, nil
			})
			cfg := testConfig(b, group)
			cfg.TransactionInterval, cfg.TransactionMessages = 20*time.Millisecond, 1000
			s := start(t, reg, cfg)
			rec.await(t, 10)
			s.stop()
		})
	}
}

// Positions that were committed in the time in which a claim is careful lose its count
// when that is over, though no message moves them.
func TestCountEndsWithItsTime(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, "a")
			commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;1")
			clock := newTestClock()
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: ignore}, nil
			})
			s := start(t, reg, testConfig(b, group), func(o *Options) { o.clock = clock.clock() })
			waitFor(t, "the message and its count", func() bool { return committedMetadata(t, b, group, topic, 0) == "racecar:1;1;0;2" })
			clock.move(time.Hour)
			waitFor(t, "the position without the count", func() bool {
				return b.Committed(group, topic, 0) == 1 && committedMetadata(t, b, group, topic, 0) == ""
			})
			s.stop()
		})
	}
}

// A claim that is lost while its process lives has killed nothing: the message that was in
// hand is called again.
func TestLostClaimIsNotCounted(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, "a")
			commitFor(t, b, group, topic, 0, 0, "racecar:1;0;0;2") // two claims did not end
			begun, rec := make(chan struct{}, 1), newRecorder()
			calls := 0
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					if calls++; calls == 1 {
						begun <- struct{}{}
						<-ctx.Done()
						return ctx.Err()
					}
					rec.add(m)
					return nil
				}}, nil
			})
			cfg := testConfig(b, group)
			cfg.Membership, cfg.DeadLetterTopic = config.MembershipDynamic, b.Topic(1)
			s := start(t, reg, cfg)
			<-begun
			s.await("a place", func() bool { return len(s.members) == 1 && s.members[0].MemberID != "" })
			if err := RemoveMembers(t.Context(), wire.Leave{Consumer: wire.Consumer{Config: cfg}, Members: s.members, Within: patient}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the position behind the message", func() bool { return b.Committed(group, topic, 0) == 1 })
			s.stop()
			if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{0}) {
				t.Errorf("processed %v", got)
			}
		})
	}
}
