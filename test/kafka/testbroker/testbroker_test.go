package testbroker

import (
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

func TestTopicsAndMessages(t *testing.T) {
	b := New(t)
	topic := b.Topic(2)
	b.Produce(topic, 1, "a", "b", "c")
	b.AddPartitions(topic, 3)
	if other := b.Topic(1); other == topic {
		t.Fatalf("two topics are called %s", topic)
	}

	consumer, err := sarama.NewConsumer(b.Addrs(), clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	partitions, err := consumer.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	if len(partitions) != 3 {
		t.Fatalf("%d partitions, want 3", len(partitions))
	}
	claim, err := consumer.ConsumePartition(topic, 1, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	for _, want := range []string{"a", "b", "c"} {
		if m := <-claim.Messages(); string(m.Value) != want {
			t.Fatalf("read %q, want %q", m.Value, want)
		}
	}
}

func TestCommitted(t *testing.T) {
	b := New(t)
	topic, group := b.Topic(1), b.Group()
	if got := b.Committed(group, topic, 0); got != -1 {
		t.Fatalf("committed %d before any commit, want -1", got)
	}
	b.admin(func(admin sarama.ClusterAdmin) error {
		_, err := admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{
			topic: {0: {Offset: 42, LeaderEpoch: -1}},
		}, nil)
		return err
	})
	if got := b.Committed(group, topic, 0); got != 42 {
		t.Fatalf("committed %d, want 42", got)
	}
}

func TestNamesAreValid(t *testing.T) {
	t.Run("a name with spaces, umlauts ä and "+strings.Repeat("much ", 40)+"length", func(t *testing.T) {
		New(t).Topic(1)
	})
}
