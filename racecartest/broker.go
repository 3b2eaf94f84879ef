package racecartest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// timeout is how long the helpers wait for an event before they fail the test. It is generous,
// so that a slow machine does not fail a test.
const timeout = 30 * time.Second

// Broker is a Kafka broker of one test, in memory: a single broker without authentication that
// speaks Kafka's protocol, transactions included (franz-go's kfake). It ends with the test. Its
// helpers fail the test when something does not work, or does not happen within 30 seconds;
// they write with another client library than racecar, so that the two check each other. They may be
// called from several goroutines, but may fail the test only on the test's own
// (testing.TB.FailNow).
type Broker struct {
	t      testing.TB
	broker *devkafka.Broker

	mu      sync.Mutex
	next    map[string]int // number of messages without a key so far, by topic
	workers int            // started by RunWorker

	settingUp sync.Mutex
	setups    map[int]*sharedSetup // by their order
}

// sharedSetup is what a function given to racecar.Setup did for the workers at a broker.
type sharedSetup struct {
	users    int
	teardown func(context.Context) error // nil: nothing
}

// shared returns setups that run once for all workers at b: in production each worker is a
// process with variables of its own.
func (b *Broker) shared(setups []registered.Setup) []registered.Setup {
	all := make([]registered.Setup, len(setups))
	for i, s := range setups {
		all[i] = registered.Setup{Line: s.Line, Run: func(ctx context.Context, rt racecar.Runtime) (func(context.Context) error, error) {
			b.settingUp.Lock()
			defer b.settingUp.Unlock()
			one := b.setups[i]
			if one == nil {
				one = &sharedSetup{}
				b.setups[i] = one
			}
			if one.users == 0 {
				var err error
				if one.teardown, err = s.Run(ctx, rt); err != nil {
					return nil, err
				}
			}
			one.users++
			return func(ctx context.Context) error { return b.leaveSetup(ctx, one) }, nil
		}}
	}
	return all
}

// leaveSetup tears a setup down after its last worker.
func (b *Broker) leaveSetup(ctx context.Context, s *sharedSetup) error {
	b.settingUp.Lock()
	defer b.settingUp.Unlock()
	if s.users--; s.users > 0 || s.teardown == nil {
		return nil
	}
	return s.teardown(ctx)
}

// NewBroker starts a broker. A topic is created at its first use, with 8 partitions; Topic
// creates one with another number.
func NewBroker(t testing.TB) *Broker {
	t.Helper()
	b, err := devkafka.Start(devkafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Broker{t: t, broker: b, next: map[string]int{}, setups: map[int]*sharedSetup{}}
}

// Addrs returns the broker's addresses, as racecar.Config.Brokers takes them, for what a test
// connects by itself.
func (b *Broker) Addrs() []string { return b.broker.Addrs() }

// Topic creates a topic. The test fails if it exists already.
func (b *Broker) Topic(name string, partitions int) {
	b.t.Helper()
	if !config.ValidTopic(name) {
		b.t.Fatalf("%q cannot be a topic's name", name)
	}
	if partitions < 1 {
		b.t.Fatalf("topic %q needs a partition, not %d", name, partitions)
	}
	if err := b.broker.CreateTopic(name, partitions); err != nil {
		b.t.Fatal(err)
	}
}

// Produce sends messages and waits until the broker has acknowledged all. A message without
// Partition is partitioned by the hash of its PartitionKey or Key (murmur2, as Kafka's Java
// client does it); messages without a key take the partitions in turn, over all calls.
func (b *Broker) Produce(messages ...racecar.ProducerMessage) {
	b.t.Helper()
	ctx, client := b.client(kgo.RecordPartitioner(partitioner{b}), kgo.ProducerLinger(0))
	defer client.Close()
	records := make([]*kgo.Record, len(messages))
	for i, m := range messages {
		if !config.ValidTopic(m.Topic) { // this broker accepts names that Kafka refuses
			b.t.Fatalf("%q cannot be a topic's name", m.Topic)
		}
		records[i] = record(m)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		b.t.Fatalf("produce to the test's broker: %v", err)
	}
}

// Messages returns the messages of a topic, ordered by partition and offset, without those of
// open or aborted transactions. If the topic does not exist, it returns nil.
func (b *Broker) Messages(topic string) []*racecar.Message {
	b.t.Helper()
	var ranges []fetch.Range
	for _, p := range b.broker.Cluster().PartitionInfos(topic) {
		ranges = append(ranges, fetch.Range{Topic: topic, Partition: p.Partition, From: p.LogStartOffset, To: p.LastStableOffset})
	}
	slices.SortFunc(ranges, func(x, y fetch.Range) int { return cmp.Compare(x.Partition, y.Partition) })
	c := config.Default()
	c.Brokers = b.Addrs()
	way, err := access.New(&c, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	f := fetch.New(fetch.Options{Config: &c, Access: way, ReadCommitted: true})
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), timeout)
	defer cancel()
	var all []*racecar.Message
	if err := f.Read(ctx, ranges, func(m *racecar.Message) error { all = append(all, m); return nil }); err != nil {
		b.t.Fatalf("read topic %q: %v", topic, err)
	}
	return all
}

// WaitMessages waits until a topic has at least n messages and returns all of them, as Messages
// does.
func (b *Broker) WaitMessages(topic string, n int) []*racecar.Message {
	b.t.Helper()
	var all []*racecar.Message
	waitUntil(b.t, func() (string, bool) {
		all = b.Messages(topic)
		return fmt.Sprintf("%d of %d messages in topic %q", len(all), n, topic), len(all) >= n
	})
	return all
}

// Committed returns the offsets that a group has committed for a topic, by partition. A
// committed offset is that of the next message to be processed; a partition without one is
// missing.
func (b *Broker) Committed(group, topic string) map[int32]int64 {
	offsets := map[int32]int64{}
	if g := b.broker.Cluster().GroupInfo(group); g != nil {
		for p, c := range g.Commits[topic] {
			offsets[p] = c.Offset
		}
	}
	return offsets
}

// WaitConsumed waits until a group has committed all messages of a topic, which must have at
// least one.
func (b *Broker) WaitConsumed(group, topic string) {
	b.t.Helper()
	waitUntil(b.t, func() (string, bool) {
		committed, messages := b.Committed(group, topic), b.Messages(topic)
		if len(messages) == 0 {
			return fmt.Sprintf("there is no message in topic %q for group %q to consume", topic, group), false
		}
		for _, m := range messages {
			if committed[m.Partition] <= m.Offset {
				return fmt.Sprintf("group %q committed offset %d of %s/%d, where message %d is", group, committed[m.Partition], topic, m.Partition, m.Offset), false
			}
		}
		return "", true
	})
}

func (b *Broker) client(o ...kgo.Opt) (context.Context, *kgo.Client) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), timeout)
	b.t.Cleanup(cancel)
	client, err := kgo.NewClient(append(o, kgo.SeedBrokers(b.Addrs()...))...)
	if err != nil {
		b.t.Fatal(err)
	}
	return ctx, client
}

// partitioner goes by ProducerMessage.Partition, else by its keys, else takes partitions in turn.
type partitioner struct{ b *Broker }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return &topicPartitioner{b: p.b, topic: topic, byKey: kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
}

type topicPartitioner struct {
	b     *Broker
	topic string
	byKey kgo.TopicPartitioner
}

func (*topicPartitioner) RequiresConsistency(*kgo.Record) bool { return true }

func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	m := r.Context.Value(messageKey{}).(racecar.ProducerMessage)
	switch {
	case m.Partition != nil:
		return int(*m.Partition)
	case m.PartitionKey != nil:
		return p.byKey.Partition(&kgo.Record{Key: m.PartitionKey}, n)
	case m.Key != nil:
		return p.byKey.Partition(r, n)
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.b.next[p.topic]++
	return (p.b.next[p.topic] - 1) % n
}

// messageKey is the key of a record's context for the message that it was made from.
type messageKey struct{}

func record(m racecar.ProducerMessage) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Timestamp: m.Timestamp,
		Context: context.WithValue(context.Background(), messageKey{}, m)}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// waitUntil polls ask until it is done, and fails the test with its last answer after
// timeout.
func waitUntil(t testing.TB, ask func() (soFar string, done bool)) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		soFar, done := ask()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", timeout, soFar)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("the test ended: %s", soFar)
		}
	}
}
