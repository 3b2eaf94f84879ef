package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// refuseOffsetsOf has the embedded broker refuse a topic's offsets above 0, in
// transactions and outside: Kafka does so when the topic is not there, the embedded
// broker takes them. The worker sends other topics' offsets of the same request again.
func refuseOffsetsOf(c *kfake.Cluster, topic string, code int16) {
	c.ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.OffsetCommitRequest)
		resp := refuseCommit(req, kerr.RequestTimedOut.Code).(*kmsg.OffsetCommitResponse)
		refused := false
		for i, rt := range req.Topics {
			if rt.Topic == topic && rt.Partitions[0].Offset > 0 {
				refused = true
				resp.Topics[i].Partitions[0].ErrorCode = code
			}
		}
		return resp, nil, refused
	})
	c.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		refused := false
		for _, rt := range req.Topics {
			one := kmsg.NewTxnOffsetCommitResponseTopic()
			one.Topic = rt.Topic
			for _, p := range rt.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition = p.Partition
				if rt.Topic == topic {
					refused, rp.ErrorCode = true, code
				}
				one.Partitions = append(one.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, one)
		}
		return resp, nil, refused
	})
}

// A commit that no repetition gets through is given up at once: it holds up neither a
// rebalance nor a stop, and no other partition.
func TestRefusedCommitHoldsUpNobody(t *testing.T) {
	for name, test := range map[string]struct {
		code     int16
		strategy string
	}{
		"topic deleted":              {kerr.UnknownTopicOrPartition.Code, "range"},
		"topic deleted, cooperative": {kerr.UnknownTopicOrPartition.Code, "cooperative-sticky"},
		"not authorized":             {kerr.TopicAuthorizationFailed.Code, "range"},
		"request too large":          {kerr.InvalidCommitOffsetSize.Code, "range"},
		"metadata too large":         {kerr.OffsetMetadataTooLarge.Code, "range"},
		"invalid topic":              {kerr.InvalidTopicException.Code, "range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			deleted := test.code == kerr.UnknownTopicOrPartition.Code
			if !deleted {
				b.Embedded()
			}
			keep, gone, group := b.Topic(1), b.Topic(1), b.Group()
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: keep}, {Topic: gone}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: recording(rec)}, nil
			})
			cfg := testConfig(b, group)
			cfg.OffsetCommitInterval, cfg.MaxPollInterval = time.Hour, 40*time.Second
			cfg.PartitionAssignmentStrategy = []string{test.strategy}
			s := start(t, reg, cfg)
			s.running()
			b.Produce(keep, 0, values(3)...)
			b.Produce(gone, 0, values(3)...)
			rec.await(t, 6)
			if deleted {
				b.DeleteTopic(gone)
			}
			if !b.Real() {
				refuseOffsetsOf(b.Embedded(), gone, test.code)
			}
			began := time.Now()
			second := start(t, reg, cfg, withIndex(1))
			second.running()
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("a rebalance took %v", d)
			}
			began = time.Now()
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("a stop took %v", d)
			}
			second.stop()
			if c := b.Committed(group, keep, 0); c != 3 {
				t.Errorf("committed %d of the other topic", c)
			}
		})
	}
}

// A coordinator that does not know a topic which is there is asked again.
func TestCommitOfATopicTheCoordinatorLearnsLate(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	c := b.Embedded()
	n := 0
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if n++; n < 4 {
			c.KeepControl()
			return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.UnknownTopicOrPartition.Code), nil, true
		}
		return nil, nil, false
	})
	s := start(t, one(t, topic, ignore), testConfig(b, group))
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 5 })
	s.stop()
}

// Where the broker takes no metadata with offsets, they are committed without.
func TestCommitsGoWithoutMetadata(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	c := b.Embedded()
	c.ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.OffsetCommitRequest)
		if m := req.Topics[0].Partitions[0].Metadata; m != nil && *m != "" {
			return refuseCommit(req, kerr.OffsetMetadataTooLarge.Code), nil, true
		}
		return nil, nil, false
	})
	rec := newRecorder()
	failed := false
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Offset == 2 && !failed {
			failed = true
			return errors.New("no")
		}
		rec.add(m)
		return nil
	}), testConfig(b, group))
	rec.await(t, 5)
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 5 })
	s.stop()
}

// Who may not commit for the group at all ends, with a line that says why.
func TestCommitRefusedForTheGroup(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	c := b.Embedded()
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.GroupAuthorizationFailed.Code), nil, true
	})
	s := start(t, one(t, topic, ignore), testConfig(b, group))
	if code := s.awaitExit(); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
	if last := s.exitReport(); !strings.Contains(last.Reason, "not authorized for the consumer group") {
		t.Errorf("last words %+v", last)
	}
}

// A transaction goes on without the partitions whose offsets are refused: the others'
// messages are neither held up nor processed again.
func TestTransactionsGoOnWithoutADeletedTopic(t *testing.T) {
	b := testbroker.New(t)
	keep, gone, out, group := b.Topic(1), b.Topic(1), b.Topic(1), b.Group()
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Transactional: true, Subscriptions: []racecar.Subscription{{Topic: keep}, {Topic: gone}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: out, Value: []byte(m.Topic)})
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.MultiSubscriptionStrategy = "round-robin"
	cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, 100
	s := start(t, reg, cfg)
	s.running()
	waitFor(t, "the first positions", func() bool { return b.Committed(group, keep, 0) == 0 && b.Committed(group, gone, 0) == 0 })
	b.Produce(keep, 0, values(40)...)
	b.Produce(gone, 0, values(40)...)
	rec.await(t, 80) // all in one transaction, which is not full
	b.DeleteTopic(gone)
	if !b.Real() {
		refuseOffsetsOf(b.Embedded(), gone, kerr.UnknownTopicOrPartition.Code)
	}
	b.Produce(keep, 0, values(40)...)
	waitFor(t, "the commit of the topic that is there", func() bool { return b.Committed(group, keep, 0) >= 60 })
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the stop took %v", d)
	}
	wantUpTo(t, rec.offsets(topicPartition{keep, 0}), 80)
	if c := b.Committed(group, keep, 0); c != 80 {
		t.Errorf("committed %d", c)
	}
	for _, v := range readCommitted(t, b, out, 0) {
		if v != keep {
			t.Fatalf("output of a message whose offset was refused is visible: %q", v)
		}
	}
}
