package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// produceWithKeys writes n messages to a partition, whose keys follow each other in turn; ""
// is none.
func produceWithKeys(t testing.TB, b *testbroker.Broker, topic string, partition int32, n int, keys ...string) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var ms []*sarama.ProducerMessage
	for i := range n {
		m := &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(fmt.Sprint("value-", i))}
		if key := keys[i%len(keys)]; key != "" {
			m.Key = sarama.StringEncoder(key)
		}
		ms = append(ms, m)
	}
	if err := p.SendMessages(ms); err != nil {
		t.Fatal(err)
	}
}

// keyNames are n keys: a, b, c, …
func keyNames(n int) []string {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("%c", 'a'+i))
	}
	return keys
}

// laneLog is a consumer for lanes that checks the order of its calls. It is shared by all
// instances, and by workers that follow each other.
type laneLog struct {
	t      testing.TB
	handle func(ctx context.Context, p *processor, m *racecar.Message) error // may be nil
	// unordered: the consumer keeps no order.
	unordered bool

	mu       sync.Mutex
	cond     *sync.Cond
	hand     map[string]int64 // offset in hand, by partition and key
	last     map[string]int64 // offset that was finished last, likewise
	finished map[topicPartition]map[int64]int
	done     int // calls that succeeded
	most     int // calls at the same time
	failures int
}

func newLaneLog(t testing.TB) *laneLog {
	l := &laneLog{t: t, hand: map[string]int64{}, last: map[string]int64{}, finished: map[topicPartition]map[int64]int{}}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *laneLog) process(ctx context.Context, p *processor, m *racecar.Message) error {
	k := topicPartition{m.Topic, m.Partition}
	lane := fmt.Sprintf("%v %s", k, m.Key)
	if m.Key == nil || l.unordered {
		lane = fmt.Sprintf("%v at %d", k, m.Offset)
	}
	l.mu.Lock()
	if other, busy := l.hand[lane]; busy {
		l.t.Errorf("%d is called while %d of the same key %q is in hand", m.Offset, other, m.Key)
	}
	if last, before := l.last[lane]; before && last >= m.Offset {
		l.t.Errorf("%d of key %q is called after %d", m.Offset, m.Key, last)
	}
	l.hand[lane] = m.Offset
	l.most = max(l.most, len(l.hand))
	l.cond.Broadcast()
	l.mu.Unlock()
	var err error
	if l.handle != nil {
		err = l.handle(ctx, p, m)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hand, lane)
	if err != nil {
		l.failures++
	} else {
		l.last[lane] = m.Offset
		if l.finished[k] == nil {
			l.finished[k] = map[int64]int{}
		}
		l.finished[k][m.Offset]++
		l.done++
	}
	l.cond.Broadcast()
	return err
}

// await waits until f, called with the lock held, is true.
func (l *laneLog) await(what string, f func() bool) {
	l.t.Helper()
	timeout := time.AfterFunc(patient, l.cond.Broadcast)
	defer timeout.Stop()
	deadline := time.Now().Add(patient)
	l.mu.Lock()
	defer l.mu.Unlock()
	for !f() {
		if !time.Now().Before(deadline) {
			l.t.Fatalf("waited in vain for %s: %d calls succeeded, %d failed, in hand: %v", what, l.done, l.failures, l.hand)
		}
		l.cond.Wait()
	}
}

// want checks that each message of a partition was finished once.
func (l *laneLog) want(k topicPartition, n int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for offset := range int64(n) {
		if times := l.finished[k][offset]; times != 1 {
			l.t.Errorf("%v: message %d was finished %d times", k, offset, times)
		}
	}
}

// register makes a consumer of l.
func (l *laneLog) register(spec racecar.Spec) *racecar.Registration {
	return registration(l.t, spec, func(rt racecar.Runtime) (*processor, error) {
		p := &processor{out: rt.Producer}
		p.process = func(ctx context.Context, m *racecar.Message) error { return l.process(ctx, p, m) }
		return p, nil
	})
}

func subscribed(topic string) racecar.Spec {
	return racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}
}

func laneConfig(b *testbroker.Broker, group string, concurrency int) config.Config {
	cfg := testConfig(b, group)
	cfg.Ordering, cfg.Concurrency = config.OrderingKey, concurrency
	return cfg
}

// committedBeyond is what the group has committed: an offset, and what is finished beyond.
func committedBeyond(t testing.TB, b *testbroker.Broker, group, topic string) (int64, offsetmap.Set) {
	t.Helper()
	m, err := offsetmap.Decode(committedMetadata(t, b, group, topic, 0))
	if err != nil {
		t.Fatal(err)
	}
	return b.Committed(group, topic, 0), m.Finished
}

// Messages of different keys of a partition are called at the same time, those of one key
// one after the other, and messages without a key in no order.
func TestKeysOfAPartitionRunAtTheSameTime(t *testing.T) {
	for name, test := range map[string]struct {
		ordering config.Ordering
		keys     []string
		most     int
	}{
		"keys":       {config.OrderingKey, keyNames(8), 8},
		"few keys":   {config.OrderingKey, keyNames(3), 3},
		"no keys":    {config.OrderingKey, []string{""}, 8},
		"unordered":  {config.OrderingNone, []string{""}, 8},
		"some of no": {config.OrderingKey, []string{"a", "", "b", "", "", "c"}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			const n = 400
			produceWithKeys(t, b, topic, 0, n, test.keys...)
			l := newLaneLog(t)
			all := make(chan struct{})
			l.handle = func(context.Context, *processor, *racecar.Message) error { <-all; return nil }
			cfg := laneConfig(b, group, 8)
			cfg.Ordering = test.ordering
			s := start(t, l.register(subscribed(topic)), cfg)
			l.await("calls at the same time", func() bool { return len(l.hand) == test.most })
			close(all)
			l.await("all messages", func() bool { return l.done == n })
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			l.want(topicPartition{topic, 0}, n)
			if l.most != test.most {
				t.Errorf("%d calls ran at the same time, want %d", l.most, test.most)
			}
			if offset, finished := committedBeyond(t, b, group, topic); offset != n || len(finished) > 0 {
				t.Errorf("committed %d and %v", offset, finished)
			}
		})
	}
}

// A message that fails delays its key alone. What was finished meanwhile is committed, and
// not processed again by the next worker, whatever its order.
func TestFailingKeyDelaysNoOther(t *testing.T) {
	for _, next := range []config.Ordering{config.OrderingKey, config.OrderingNone, config.OrderingPartition} {
		t.Run(string(next), func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			const n = 1000
			produceWithKeys(t, b, topic, 0, n, keyNames(10)...)
			l := newLaneLog(t)
			down := errors.New("down")
			l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
				if string(m.Key) == "c" {
					return down
				}
				return nil
			}
			cfg := laneConfig(b, group, 8)
			cfg.PauseTimeout = config.PauseForever
			s := start(t, l.register(subscribed(topic)), cfg)
			l.await("the other keys", func() bool { return l.done == n*9/10 })
			waitFor(t, "the status to show it", func() bool {
				p := s.status().Partitions[0]
				return p.WaitingKeys == 1 && len(p.OldestWaiting) == 1 && p.OldestWaiting[0].Key == "c" && p.OldestWaiting[0].Offset == 2 &&
					p.Position == 2 && p.Lag == n/10 && p.Beyond == n*9/10-2
			})
			s.stop()
			if offset, finished := committedBeyond(t, b, group, topic); offset != 2 || finished.Count() != n*9/10-2 {
				t.Errorf("committed %d and %d beyond", offset, finished.Count())
			}
			l.mu.Lock()
			failures := l.failures
			l.handle, l.unordered = nil, next == config.OrderingNone
			l.mu.Unlock()
			if failures != 1 {
				t.Errorf("%d calls failed", failures)
			}
			cfg.Ordering = next
			if next == config.OrderingPartition {
				cfg.Concurrency = 1
			}
			s = start(t, l.register(subscribed(topic)), cfg)
			l.await("the key that failed", func() bool { return l.done == n })
			s.stop()
			l.want(topicPartition{topic, 0}, n)
			if offset, finished := committedBeyond(t, b, group, topic); offset != n || len(finished) > 0 {
				t.Errorf("committed %d and %v", offset, finished)
			}
		})
	}
}

// Retries keep the order of their key, over workers that replace each other in the middle.
func TestRetriesKeepTheOrderOfKeys(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	const n = 300
	for p := range int32(2) {
		produceWithKeys(t, b, topic, p, n, keyNames(7)...)
	}
	l := newLaneLog(t)
	tries := map[string]int{}
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		at := fmt.Sprint(m.Partition, "/", m.Offset)
		tries[at]++
		if want := (m.Offset % 11) % 3; tries[at] <= int(want) {
			return fmt.Errorf("attempt %d", tries[at])
		}
		// A failure while the partition is being released counts as none.
		if m.Retries > tries[at]-1 || m.Retries < tries[at]-1-2 {
			t.Errorf("%s: Retries is %d at call %d", at, m.Retries, tries[at])
		}
		return nil
	}
	cfg := laneConfig(b, group, 6)
	cfg.PauseTimeout = 5 * time.Millisecond
	for _, part := range []int{n / 2, n, 2 * n} {
		s := start(t, l.register(subscribed(topic)), cfg)
		l.await("a part", func() bool { return l.done >= part })
		s.stop()
	}
	for p := range int32(2) {
		l.want(topicPartition{topic, p}, n)
	}
}

// resume ends every wait: backoffs, and those until it comes.
func TestResumeEndsTheWaitsOfAllKeys(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	produceWithKeys(t, b, topic, 0, 40, keyNames(4)...)
	l := newLaneLog(t)
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		switch {
		case m.Retries > 0 || m.Offset >= 4:
			return nil
		case m.Offset%2 == 0:
			return racecar.RetryAfter(errors.New("later"), time.Hour)
		default:
			return errors.New("until resumed")
		}
	}
	cfg := laneConfig(b, group, 4)
	cfg.PauseTimeout = config.PauseForever
	s := start(t, l.register(subscribed(topic)), cfg)
	l.await("four failures", func() bool { return l.failures == 4 })
	waitFor(t, "four keys to wait", func() bool { return s.status().Partitions[0].WaitingKeys == 4 })
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: -1}}})
	l.await("all messages", func() bool { return l.done == 40 })
	s.stop()
	l.want(topicPartition{topic, 0}, 40)
}

// A key is released when its message is finished: what its call has produced is acknowledged.
func TestKeyWaitsForItsOutput(t *testing.T) {
	b := testbroker.New(t)
	topic, group, out := b.Topic(1), b.Group(), b.Topic(1)
	const n = 60
	produceWithKeys(t, b, topic, 0, n, keyNames(3)...)
	l := newLaneLog(t)
	l.handle = func(ctx context.Context, p *processor, m *racecar.Message) error {
		return p.out.Produce(ctx, racecar.ProducerMessage{Topic: out, Key: m.Key, Value: fmt.Append(nil, m.Offset)})
	}
	s := start(t, l.register(subscribed(topic)), laneConfig(b, group, 8))
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == n })
	s.stop()
	l.want(topicPartition{topic, 0}, n)
	rec := newRecorder()
	values := map[string][]string{}
	reg := one(t, out, func(_ context.Context, m *racecar.Message) error {
		values[string(m.Key)] = append(values[string(m.Key)], string(m.Value))
		rec.add(m)
		return nil
	})
	s = start(t, reg, testConfig(b, b.Group()))
	rec.await(t, n)
	s.stop()
	for i, key := range keyNames(3) {
		for j, value := range values[key] {
			if want := fmt.Sprint(i + 3*j); value != want {
				t.Fatalf("output of key %s: %v", key, values[key])
			}
		}
	}
}

// Messages whose attempts are used up go to the dead-letter topic, as they were received.
func TestDeadLettersOfKeys(t *testing.T) {
	b := testbroker.New(t)
	topic, group, dead := b.Topic(1), b.Group(), b.Topic(1)
	const n = 50
	produceWithKeys(t, b, topic, 0, n, keyNames(5)...)
	l := newLaneLog(t)
	l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
		if m.Offset%10 == 3 {
			copy(m.Value, "overwritten")
			return errors.New("bad")
		}
		return nil
	}
	cfg := laneConfig(b, group, 4)
	cfg.MaxRetries, cfg.PauseTimeout, cfg.DeadLetterTopic = 2, time.Millisecond, dead
	s := start(t, l.register(subscribed(topic)), cfg)
	waitFor(t, "everything to be committed", func() bool { return b.Committed(group, topic, 0) == n })
	s.stop()
	if l.failures != 15 || l.done != n-5 {
		t.Errorf("%d calls failed, %d succeeded", l.failures, l.done)
	}
	rec := newRecorder()
	var values []string
	s = start(t, one(t, dead, func(_ context.Context, m *racecar.Message) error {
		values = append(values, string(m.Value))
		rec.add(m)
		return nil
	}), testConfig(b, b.Group()))
	rec.await(t, 5)
	s.stop()
	slices.Sort(values)
	if want := []string{"value-13", "value-23", "value-3", "value-33", "value-43"}; !slices.Equal(values, want) {
		t.Errorf("dead letters: %v", values)
	}
}

// Each executor has an instance of its own, made before the group is joined. Each of them
// learns of all partitions, and is torn down once.
func TestInstancesOfLanes(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(3), b.Group()
	for p := range int32(3) {
		produceWithKeys(t, b, topic, p, 100, keyNames(10)...)
	}
	var mu sync.Mutex
	var made, down, assigned, revoked, calls int
	reg := registration(t, subscribed(topic), func(racecar.Runtime) (*processor, error) {
		mu.Lock()
		defer mu.Unlock()
		made++
		var own, partitions int
		return &processor{
			process: func(context.Context, *racecar.Message) error {
				own++ // needs no lock
				mu.Lock()
				defer mu.Unlock()
				if made != 4 || partitions != 3 {
					t.Errorf("a call with %d instances, and %d partitions assigned", made, partitions)
				}
				calls++
				return nil
			},
			assigned: func(a racecar.Assignment) {
				mu.Lock()
				defer mu.Unlock()
				partitions += len(a.Partitions[topic])
				assigned++
			},
			revoked:  func(racecar.Assignment) { mu.Lock(); defer mu.Unlock(); revoked++ },
			teardown: func() { mu.Lock(); defer mu.Unlock(); down++ },
		}, nil
	})
	s := start(t, reg, laneConfig(b, group, 4))
	waitFor(t, "the messages", func() bool { mu.Lock(); defer mu.Unlock(); return calls == 300 })
	s.stop()
	if made != 4 || down != 4 || assigned != 4 || revoked != 4 {
		t.Errorf("%d made, %d torn down, hooks of assignment %d, of revocation %d", made, down, assigned, revoked)
	}
}
