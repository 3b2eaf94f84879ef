package racecartest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestProduceAndMessages(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 2)
	one := int32(1)
	at := time.UnixMilli(1_700_000_000_000).UTC()
	b.Produce(
		racecar.ProducerMessage{Topic: "words", Partition: &one, Key: []byte("k"), Value: []byte("a"), Timestamp: at,
			Headers: []racecar.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}},
		racecar.ProducerMessage{Topic: "words", Partition: &one, Key: []byte("gone"), Timestamp: at},
		racecar.ProducerMessage{Topic: "words", Partition: new(int32), Value: []byte{}, Timestamp: at},
	)
	got := b.Messages("words")
	for _, m := range got {
		m.Timestamp = m.Timestamp.UTC()
	}
	want := []*racecar.Message{
		{Topic: "words", Partition: 0, Value: []byte{}, Timestamp: at},
		{Topic: "words", Partition: 1, Key: []byte("k"), Value: []byte("a"), Timestamp: at,
			Headers: []racecar.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}},
		{Topic: "words", Partition: 1, Offset: 1, Key: []byte("gone"), Timestamp: at},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestProducePicksPartitions(t *testing.T) {
	b := racecartest.NewBroker(t)
	var messages []racecar.ProducerMessage
	for i := range 16 {
		messages = append(messages,
			racecar.ProducerMessage{Topic: "no-key", Value: []byte("v")},
			racecar.ProducerMessage{Topic: "one-key", Key: []byte("k")},
			racecar.ProducerMessage{Topic: "partition-key", Key: fmt.Append(nil, i), PartitionKey: []byte("k")})
	}
	b.Produce(messages...)
	spread := map[string]map[int32]int{}
	for _, topic := range []string{"no-key", "one-key", "partition-key"} {
		spread[topic] = map[int32]int{}
		for _, m := range b.WaitMessages(topic, 16) {
			spread[topic][m.Partition]++
		}
	}
	if n := len(spread["no-key"]); n != devkafka.DefaultPartitions {
		t.Errorf("messages without key are in %d partitions, want all", n)
	}
	if len(spread["one-key"]) != 1 {
		t.Errorf("messages of one key are in %v", spread["one-key"])
	}
	if d := cmp.Diff(spread["one-key"], spread["partition-key"]); d != "" {
		t.Errorf("the partition key does not decide: %s", d)
	}
}

func TestMessagesOfAMissingTopic(t *testing.T) {
	b := racecartest.NewBroker(t)
	if got := b.Messages("none"); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestMessagesOmitsAbortedTransactions(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 1)
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID("t"), kgo.DefaultProduceTopic("words"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	transaction := func(value string, commit kgo.TransactionEndTry) {
		t.Helper()
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if value == "open" {
			return
		}
		if err := c.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	transaction("kept", kgo.TryCommit)
	transaction("aborted", kgo.TryAbort)
	if got := values(b.Messages("words")); !cmp.Equal(got, []string{"kept"}) {
		t.Errorf("got %v, want the committed message only", got)
	}
	transaction("open", kgo.TryCommit)
	if got := values(b.Messages("words")); !cmp.Equal(got, []string{"kept"}) {
		t.Errorf("got %v, want the committed message only", got)
	}
}

func values(messages []*racecar.Message) []string {
	var v []string
	for _, m := range messages {
		v = append(v, string(m.Value))
	}
	return v
}

func TestCommittedAndWaitConsumed(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 2)
	for range 2 {
		b.Produce(racecar.ProducerMessage{Topic: "words"}, racecar.ProducerMessage{Topic: "words"})
	}
	if got := b.Committed("readers", "words"); len(got) != 0 {
		t.Errorf("committed %v before there is a group", got)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("words"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		for t.Context().Err() == nil {
			c.PollFetches(t.Context())
		}
	}()
	b.WaitConsumed("readers", "words")
	if d := cmp.Diff(map[int32]int64{0: 2, 1: 2}, b.Committed("readers", "words")); d != "" {
		t.Error(d)
	}
}
