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
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// patience is how long the helpers wait for what should happen soon before they
// fail the test. It is generous: a slow machine is no failure.
const patience = 30 * time.Second

// Broker is a Kafka broker of one test, in memory; see package devkafka for
// what it is and is not. It ends with the test. Its helpers fail the test when
// something does not work; they write with another client library than racecar's, so
// that the two check each other. They may be called from several
// goroutines, but only from the test's own may they fail it (testing.TB.FailNow).
type Broker struct {
	t      testing.TB
	broker *devkafka.Broker

	mu      sync.Mutex
	turns   map[string]int // of messages without a key, by topic
	workers int            // that RunWorker has started
}

// NewBroker starts a broker. Topics are made on first use, with
// devkafka.DefaultPartitions; Topic makes one with another number.
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
	return &Broker{t: t, broker: b, turns: map[string]int{}}
}

// Addrs returns the broker's addresses, as racecar.Config.Brokers takes them, for what a test
// connects by itself.
func (b *Broker) Addrs() []string { return b.broker.Addrs() }

// Topic makes a topic.
func (b *Broker) Topic(name string, partitions int) {
	b.t.Helper()
	if !config.ValidTopic(name) {
		b.t.Fatalf("%q cannot be a topic's name", name)
	}
	if err := b.broker.CreateTopic(name, partitions); err != nil {
		b.t.Fatal(err)
	}
}

// Produce sends messages and returns when all are in the log. A message without
// Partition goes by the hash of its key (PartitionKey, when set), as Kafka's own
// clients do it; those without any key take the partitions in turn, over all calls.
func (b *Broker) Produce(messages ...racecar.ProducerMessage) {
	b.t.Helper()
	ctx, client := b.client(kgo.RecordPartitioner(partitioner{b}), kgo.ProducerLinger(0))
	defer client.Close()
	records := make([]*kgo.Record, len(messages))
	for i, m := range messages {
		if !config.ValidTopic(m.Topic) { // the broker takes names that Kafka refuses
			b.t.Fatalf("%q cannot be a topic's name", m.Topic)
		}
		records[i] = record(m)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		b.t.Fatalf("produce to the test's broker: %v", err)
	}
}

// Messages returns what is in a topic now, ordered by partition and offset.
// What belongs to open or aborted transactions is not among it.
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), patience)
	defer cancel()
	var all []*racecar.Message
	if err := f.Read(ctx, ranges, func(m *racecar.Message) error { all = append(all, m); return nil }); err != nil {
		b.t.Fatalf("read topic %q: %v", topic, err)
	}
	return all
}

// WaitMessages waits until at least n messages are in a topic and returns them
// all, as Messages does.
func (b *Broker) WaitMessages(topic string, n int) []*racecar.Message {
	b.t.Helper()
	var all []*racecar.Message
	waitUntil(b.t, func() (string, bool) {
		all = b.Messages(topic)
		return fmt.Sprintf("%d of %d messages in topic %q", len(all), n, topic), len(all) >= n
	})
	return all
}

// Committed returns the offsets that a group has committed for a topic, by
// partition: each that of the next message to be processed.
func (b *Broker) Committed(group, topic string) map[int32]int64 {
	offsets := map[int32]int64{}
	if g := b.broker.Cluster().GroupInfo(group); g != nil {
		for p, c := range g.Commits[topic] {
			offsets[p] = c.Offset
		}
	}
	return offsets
}

// WaitConsumed waits until a group has committed all messages of a topic, of which
// there must be one.
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), patience)
	b.t.Cleanup(cancel)
	client, err := kgo.NewClient(append(o, kgo.SeedBrokers(b.Addrs()...))...)
	if err != nil {
		b.t.Fatal(err)
	}
	return ctx, client
}

// partitioner obeys ProducerMessage.Partition, then its keys, then takes turns.
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
	p.b.turns[p.topic]++
	return (p.b.turns[p.topic] - 1) % n
}

// messageKey is under which a record's context carries what it was made from.
type messageKey struct{}

func record(m racecar.ProducerMessage) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Timestamp: m.Timestamp,
		Context: context.WithValue(context.Background(), messageKey{}, m)}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// waitUntil asks again and again, as nothing signals it, and fails the test with
// the last answer when patience is at its end.
func waitUntil(t testing.TB, ask func() (soFar string, done bool)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		soFar, done := ask()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", patience, soFar)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("the test ended: %s", soFar)
		}
	}
}
