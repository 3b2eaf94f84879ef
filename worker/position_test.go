package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

func recording(rec *recorder) func(context.Context, *racecar.Message) error {
	return func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }
}

// Subscriptions may start at different ends; the position found first is
// committed before anything is processed, so that what arrives between two starts
// is not left out.
func TestStartPositions(t *testing.T) {
	b := testbroker.New(t)
	old, fresh, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(old, 0, values(5)...)
	b.Produce(fresh, 0, values(5)...)
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{
		{Topic: old}, {Topic: fresh, StartFrom: racecar.End},
	}}, func(racecar.Runtime) (*processor, error) { return &processor{process: recording(rec)}, nil })
	cfg := testConfig(b, group)
	cfg.OffsetCommitInterval = time.Hour
	s := start(t, reg, cfg)
	rec.await(t, 5)
	waitFor(t, "the first position", func() bool { return b.Committed(group, fresh, 0) == 5 })
	s.stop()
	b.Produce(fresh, 0, "while nobody was there", "and another")
	s = start(t, reg, cfg)
	rec.await(t, 7)
	s.stop()
	wantUpTo(t, rec.offsets(topicPartition{old, 0}), 5)
	if got := rec.offsets(topicPartition{fresh, 0}); len(got) != 2 || got[0] != 5 {
		t.Errorf("from the end: %v", got)
	}
}

// The first position is committed before the first message is handed out, and
// nothing is handed out as long as it cannot be.
func TestFirstPositionComesFirst(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	c := b.Embedded()
	var mu sync.Mutex
	refused := 0
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if refused >= 3 {
			return nil, nil, false
		}
		refused++
		return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.RequestTimedOut.Code), nil, true
	})
	committed := int64(-2)
	done := make(chan struct{})
	var once sync.Once
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		once.Do(func() { committed = b.Committed(group, topic, 0); close(done) })
		return nil
	}), testConfig(b, group))
	<-done
	if committed != 0 {
		t.Errorf("committed %d before the first message", committed)
	}
	s.stop()
	if refused != 3 {
		t.Errorf("%d commits refused", refused)
	}
}

func refuseCommit(req *kmsg.OffsetCommitRequest, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// Commits that fail are counted, logged and made again.
func TestFailedCommitsAreRepeated(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	c := b.Embedded()
	var mu sync.Mutex
	n := 0
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if n++; n < 2 || n > 4 {
			return nil, nil, false
		}
		return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.UnknownServerError.Code), nil, true
	})
	var events []event.CommitFailed
	s := start(t, one(t, topic, ignore), testConfig(b, group), func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if e, ok := e.(event.CommitFailed); ok {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e)
			}
		}
	})
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 5 })
	if got := s.status().Counters[status.CountCommitErrors]; got != 3 {
		t.Errorf("%d commit errors counted", got)
	}
	s.stop()
	if len(events) != 3 || events[0].Topic != topic || events[0].Err == nil {
		t.Errorf("events %v", events)
	}
}

// synchronous_commits: each message is committed before the next is begun.
func TestSynchronousCommits(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(20)...)
	rec := newRecorder()
	cfg := testConfig(b, group)
	cfg.SynchronousCommits, cfg.OffsetCommitInterval = true, time.Hour
	var wrong []int64
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if c := b.Committed(group, topic, 0); c != m.Offset {
			wrong = append(wrong, m.Offset, c)
		}
		rec.add(m)
		return nil
	}), cfg)
	rec.await(t, 20)
	s.stop()
	if len(wrong) > 0 {
		t.Errorf("not committed before the next message: %v", wrong)
	}
}

// A commit that somebody waits for is not tried as fast as the broker refuses it.
func TestRefusedCommitsAreNotTriedAsFastAsTheyAreRefused(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, "a")
	c := b.Embedded()
	var mu sync.Mutex
	tries, over := 0, time.Time{}
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if req.(*kmsg.OffsetCommitRequest).Topics[0].Partitions[0].Offset == 0 {
			return nil, nil, false // the first position
		}
		if tries++; tries == 1 {
			over = time.Now().Add(700 * time.Millisecond)
		}
		if time.Now().After(over) {
			return nil, nil, false
		}
		return refuseCommit(req.(*kmsg.OffsetCommitRequest), kerr.RebalanceInProgress.Code), nil, true
	})
	cfg := testConfig(b, group)
	cfg.SynchronousCommits, cfg.OffsetCommitInterval = true, time.Hour
	s := start(t, one(t, topic, ignore), cfg)
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 1 })
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	if tries > 10 { // after 5, 15, 35, 75, 155, 315, 635 and 1275 ms
		t.Errorf("tried %d times in 0.7 s", tries)
	}
}

// Messages that were deleted before they were processed are never left out in
// silence.
func TestOffsetOutOfRange(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	rec := newRecorder()
	cfg := testConfig(b, group)
	s := start(t, one(t, topic, recording(rec)), cfg)
	rec.await(t, 10)
	s.stop()
	b.Produce(topic, 0, values(10)...)
	deleteUpTo(t, b, topic, 15)
	var mu sync.Mutex
	var gaps []event.OffsetGap
	s = start(t, one(t, topic, recording(rec)), cfg, func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if e, ok := e.(event.OffsetGap); ok {
				mu.Lock()
				defer mu.Unlock()
				gaps = append(gaps, e)
			}
		}
	})
	rec.await(t, 15)
	r := s.status()
	s.stop()
	if got := rec.offsets(topicPartition{topic, 0}); got[10] != 15 || len(got) != 15 {
		t.Errorf("processed %v", got)
	}
	if len(gaps) != 1 || gaps[0].Committed != 10 || gaps[0].Start != 15 {
		t.Errorf("gaps %+v", gaps)
	}
	if r.Counters[status.CountOffsetGaps] != 1 || len(r.Problems) != 1 {
		t.Errorf("report %+v", r)
	}
}

func deleteUpTo(t testing.TB, b *testbroker.Broker, topic string, offset int64) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.DeleteRecords(topic, map[int32]int64{0: offset}); err != nil {
		t.Fatal(err)
	}
}

// Topics by pattern, topics that come later, partitions that come later.
func TestTopicsThatComeLater(t *testing.T) {
	for _, strategy := range []string{"range", "sticky", "cooperative-sticky"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			prefix, later, group := b.Topic(1), b.Group(), b.Group()
			b.Produce(prefix, 0, "a")
			rec := newRecorder()
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{
				{TopicPattern: prefix + ".*"}, {Topic: later},
			}}, func(racecar.Runtime) (*processor, error) { return &processor{process: recording(rec)}, nil })
			cfg := testConfig(b, group)
			cfg.PartitionAssignmentStrategy = []string{strategy}
			cfg.TopicMetadataRefreshInterval = 300 * time.Millisecond
			s := start(t, reg, cfg)
			second := start(t, reg, cfg, withIndex(1))
			rec.await(t, 1)
			for i, change := range []func(){
				func() { b.CreateTopic(prefix+"-two", 1); b.Produce(prefix+"-two", 0, "b") },
				func() { b.CreateTopic(later, 1); b.Produce(later, 0, "c") },
				func() { b.AddPartitions(later, 3); b.Produce(later, 2, "d") },
			} {
				began := time.Now()
				change()
				rec.await(t, 2+i)
				t.Logf("change %d: consumed after %v", i, time.Since(began))
			}
			s.stop()
			second.stop()
		})
	}
}

// A topic that does not exist is waited for, by name.
func TestMissingTopic(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Group(), b.Group()
	rec := newRecorder()
	s := start(t, one(t, topic, recording(rec)), testConfig(b, group))
	s.await("waiting for the topic", func() bool {
		return s.frame.State == status.Waiting && s.frame.Detail == "topic "+topic+" does not exist"
	})
	b.CreateTopic(topic, 1)
	b.Produce(topic, 0, "a")
	rec.await(t, 1)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// Subscriptions whose client settings differ have a membership each.
func TestSeveralMemberships(t *testing.T) {
	b := testbroker.New(t)
	one, two, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(one, 0, values(10)...)
	b.Produce(two, 0, values(10)...)
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{
		{Topic: one}, {Topic: two, MaxBytesPerPartition: 4096},
	}}, func(racecar.Runtime) (*processor, error) { return &processor{process: recording(rec)}, nil })
	s := start(t, reg, testConfig(b, group))
	rec.await(t, 20)
	s.await("two places", func() bool { return len(s.members) == 2 })
	if got := membersOf(t, b, group); len(got) != 2 {
		t.Errorf("members %v", got)
	}
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantNoMembers(t, b, group)
	for _, topic := range []string{one, two} {
		if c := b.Committed(group, topic, 0); c != 10 {
			t.Errorf("committed %d", c)
		}
	}
}

// fromEnd registers a consumer of subscriptions that start from the end.
func fromEnd(t testing.TB, rec *recorder, subs ...racecar.Subscription) *racecar.Registration {
	for i := range subs {
		subs[i].StartFrom = racecar.End
	}
	return registration(t, racecar.Spec{Subscriptions: subs}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: recording(rec)}, nil
	})
}

// StartFrom End leaves out what was there when the group was new, and nothing of what
// appears later: an added partition, a topic that a pattern matches later, a topic that
// is named and was missing.
func TestWhatAppearsLaterBeginsAtItsBeginning(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	prefix := b.Topic(1)
	later, group := b.Group(), b.Group()
	b.Produce(prefix, 0, values(5)...)
	rec := newRecorder()
	cfg := testConfig(b, group)
	cfg.TopicMetadataRefreshInterval = time.Second
	s := start(t, fromEnd(t, rec, racecar.Subscription{TopicPattern: prefix + ".*"}, racecar.Subscription{Topic: later}), cfg)
	waitFor(t, "the first position", func() bool { return b.Committed(group, prefix, 0) == 5 })
	b.Produce(prefix, 0, "new")
	rec.await(t, 1)
	b.AddPartitions(prefix, 2)
	b.Produce(prefix, 1, values(100)...) // before anybody knows of it
	rec.await(t, 101)
	b.CreateTopic(prefix+"-two", 1)
	b.Produce(prefix+"-two", 0, values(50)...)
	rec.await(t, 151)
	b.CreateTopic(later, 1)
	b.Produce(later, 0, values(50)...)
	rec.await(t, 201)
	s.stop()
	if got := rec.offsets(topicPartition{prefix, 0}); len(got) != 1 || got[0] != 5 {
		t.Errorf("from the end: %v", got)
	}
	wantUpTo(t, rec.offsets(topicPartition{prefix, 1}), 100)
	wantUpTo(t, rec.offsets(topicPartition{prefix + "-two", 0}), 50)
	wantUpTo(t, rec.offsets(topicPartition{later, 0}), 50)
}

// The same holds for what appeared while nobody was there, and for a topic that was
// missing when the first worker looked; and however the end was asked for.
func TestWhatAppearedInBetweenBeginsAtItsBeginning(t *testing.T) {
	for name, sub := range map[string]racecar.Subscription{
		"StartFrom":         {StartFrom: racecar.End},
		"auto.offset.reset": {AdditionalConfig: map[string]string{"auto.offset.reset": "latest"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			group := b.Group()
			sub.Topic = b.Group()
			rec := newRecorder()
			cfg := testConfig(b, group)
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{sub}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: recording(rec)}, nil
			})
			s := start(t, reg, cfg)
			s.await("waiting for the topic", func() bool { return s.frame.State == status.Waiting && s.frame.Detail != "" })
			b.CreateTopic(sub.Topic, 1)
			b.Produce(sub.Topic, 0, values(10)...)
			rec.await(t, 10)
			s.stop()
			b.AddPartitions(sub.Topic, 2)
			b.Produce(sub.Topic, 1, values(10)...)
			s = start(t, reg, cfg)
			rec.await(t, 20)
			s.stop()
			wantUpTo(t, rec.offsets(topicPartition{sub.Topic, 0}), 10)
			wantUpTo(t, rec.offsets(topicPartition{sub.Topic, 1}), 10)
		})
	}
}

// Where retention has overtaken a group that starts from the end, it goes on with what
// is left; beyond the end of the log it starts as the subscription says.
func TestOutOfRangeFromTheEnd(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	rec := newRecorder()
	cfg := testConfig(b, group)
	reg := fromEnd(t, rec, racecar.Subscription{Topic: topic})
	s := start(t, reg, cfg)
	waitFor(t, "the first position", func() bool { return b.Committed(group, topic, 0) == 0 })
	s.stop()
	b.Produce(topic, 0, values(20)...)
	deleteUpTo(t, b, topic, 15)
	s = start(t, reg, cfg)
	rec.await(t, 5)
	r := s.status()
	s.stop()
	if got := rec.offsets(topicPartition{topic, 0}); len(got) != 5 || got[0] != 15 {
		t.Errorf("processed %v", got)
	}
	if r.Counters[status.CountOffsetGaps] != 1 {
		t.Errorf("%d gaps", r.Counters[status.CountOffsetGaps])
	}
}

// A position is committed with the epoch of the leader that wrote the message before it, so
// that whoever goes on from there can tell whether the log is still the same.
func TestLeaderEpochIsCommitted(t *testing.T) {
	for name, transactional := range map[string]bool{"plain": false, "transactional": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(3)...)
			reg := registration(t, racecar.Spec{Transactional: transactional, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(context.Context, *racecar.Message) error { return nil }}, nil
			})
			cfg := testConfig(b, group)
			for range 2 { // the second one begins there
				s := start(t, reg, cfg)
				waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
				s.running()
				s.stop()
				k := kafka.TopicPartition{Topic: topic, Partition: 0}
				offsetsOf(t, b, group, func(ctx context.Context, o *kafka.OffsetClient) error {
					got, err := o.Fetch(ctx, []kafka.TopicPartition{k})
					if got[k].Offset != 3 || got[k].Epoch.Leader() < 0 {
						t.Errorf("committed %+v", got[k])
					}
					return err
				})
			}
		})
	}
}
