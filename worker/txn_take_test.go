package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A worker was killed with its offsets sent and its transaction open. Until that
// is ended the group's offsets are withheld, from sarama as from us: whoever takes
// the member ends it before it asks, and does not wait for transaction.timeout.ms.
func TestReplacementEndsTheOpenTransactionFirst(t *testing.T) {
	t.Parallel()
	t.Run("of a worker", func(t *testing.T) {
		replacementEndsTheOpenTransaction(t, 1, func(group, _, place string) string { return producer.TransactionalIDForWorker(group, place) })
	})
	t.Run("of a partition", func(t *testing.T) {
		replacementEndsTheOpenTransaction(t, 2, func(group, topic, _ string) string {
			return producer.TransactionalIDForPartition(group, kafka.TopicPartition{Topic: topic})
		})
	})
}

func replacementEndsTheOpenTransaction(t *testing.T, concurrency int, transactionalID func(group, topic, place string) string) {
	t.Helper()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(10)...)
	rec := newRecorder()
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			return rt.Producer.Produce(ctx, copyOf(to, m))
		}}, nil
	})
	cfg := txnConfig(b, group)
	cfg.Concurrency = concurrency
	cfg.Producer = []string{"transaction.timeout.ms=60000"} // more than we wait for anything

	// The one before: everything but the end of its transaction.
	var dead atomic.Bool
	sent := make(chan struct{}, 100)
	c := b.Embedded()
	c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		if dead.Load() {
			return nil, nil, false
		}
		c.KeepControl()
		sent <- struct{}{}
		c.SleepControl(func() {
			for !dead.Load() {
				<-time.After(time.Millisecond)
			}
		})
		return nil, context.Canceled, true // closes the connection
	})
	id := transactionalID(group, from, slotID(cfg.ClientID, "n0", reg.Name(), 0, 0))
	log := logrus.New()
	log.SetOutput(testWriter(t))
	before, err := producer.NewTxnProducer(t.Context(), &cfg, producer.TxnOptions{Logger: log, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	partition := int32(0)
	if err := before.Send(t.Context(), producer.Message{Topic: to, Value: []byte("never seen"), Partition: &partition}, nil); err != nil {
		t.Fatal(err)
	}
	if err := before.SendOffsets(group, kafka.Member{Generation: -1}, map[kafka.TopicPartition]kafka.Commit{{Topic: from, Partition: 0}: {Offset: 5}}); err != nil {
		t.Fatal(err)
	}
	dying, die := context.WithCancel(t.Context())
	committed := make(chan error, 1)
	go func() { committed <- before.Commit(dying) }()
	<-sent
	die()
	dead.Store(true)
	if err := <-committed; err == nil {
		t.Fatal("the transaction was committed")
	}

	s := start(t, reg, cfg)
	rec.await(t, 10) // for less than the transaction has
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantCopies(t, readCommitted(t, b, to, 0), 10)
}
