package kafka

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// What is below the end of a log and yet nothing to come: markers and what was
// aborted. A producer's committed messages count though it aborts later ones.
func TestOnlyControlRecords(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic := b.Topic(1)
	kc, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kc.Close)
	begin := func() {
		t.Helper()
		if err := kc.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := kc.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(how kgo.TransactionEndTry) {
		t.Helper()
		if err := kc.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	for _, how := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryAbort} {
		begin()
		end(how)
	} // 0 aborted, 1 its marker, 2 committed, 3 its marker, 4 aborted, 5, 6 aborted, 7
	begin() // 8, open

	c := config.Default()
	c.Brokers = b.Addrs()
	a, err := access.New(&c, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf := NewConfig(a)
	conf.Consumer.IsolationLevel = sarama.ReadCommitted
	client, err := NewClient(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	for _, test := range []struct {
		from, end int64
		want      bool
	}{
		{0, 2, true}, {0, 8, false}, {2, 8, false}, {3, 8, true}, {4, 8, true}, {7, 8, true}, {4, 9, false}, {8, 9, false},
	} {
		if got, err := client.OnlyControlRecords(TopicPartition{topic, 0}, test.from, test.end); err != nil || got != test.want {
			t.Errorf("from %d to %d: %v, %v; want %v", test.from, test.end, got, err, test.want)
		}
	}
}
