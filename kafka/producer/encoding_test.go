package producer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/config"
)

// smuggle queues a message that Send would refuse: encoding errors that check does not
// foresee are to hurt nobody else either.
func smuggle(p *Producer, m Message, done Done) {
	o := &outMessage{Message: m, done: done, deadline: time.Now().Add(time.Minute)}
	o.size = recordSize(&o.Message)
	p.room.TryAcquire(p.needs(o))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outstanding++
	p.heldBytes += p.needs(o)
	p.start()
	p.place(o, time.Now())
}

func encodingSettings(t *testing.T, topics ...string) *config.Config {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := config.Default()
	c.Brokers = cluster.ListenAddrs()
	return &c
}

func discard() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// A record that cannot be encoded is refused alone, whatever else is in its batch and
// in its request.
func TestEncodingErrorIsNarrowedToItsRecord(t *testing.T) {
	p, err := New(t.Context(), encodingSettings(t, "a", "b"), Options{Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	failed := map[string]error{}
	ends := 0
	before := time.Unix(-1, 0)
	for i := range 100 {
		for _, topic := range []string{"a", "b"} {
			id := fmt.Sprintf("%s %d", topic, i)
			partition := int32(i % 2)
			m := Message{Topic: topic, Partition: &partition, Value: []byte(id)}
			if id == "a 40" || id == "a 90" {
				m.Timestamp = before
			}
			smuggle(p, m, func(_ int32, _ int64, err error) {
				mu.Lock()
				defer mu.Unlock()
				if ends++; err != nil {
					failed[id] = err
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if ends != 200 || len(failed) != 2 || failed["a 40"] == nil || failed["a 90"] == nil {
		t.Errorf("%d of 200 ended, %d failed", ends, len(failed))
	}
	for _, err := range failed {
		if e, ok := errors.AsType[*DeliveryError](err); !ok || !e.Refused() || e.MaybeDelivered {
			t.Errorf("%v is not refused", err)
		}
	}
}

// In a transaction that record alone is to blame for its end.
func TestEncodingErrorInATransaction(t *testing.T) {
	x, err := NewTxnProducer(t.Context(), encodingSettings(t, "a"), TxnOptions{Logger: discard(), ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := x.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	refused := map[int]error{}
	for i := range 20 {
		partition := int32(0)
		m := Message{Topic: "a", Partition: &partition, Value: []byte("v")}
		if i == 13 {
			m.Timestamp = time.Unix(-1, 0)
		}
		smuggle(x.p, m, func(_ int32, _ int64, err error) {
			mu.Lock()
			defer mu.Unlock()
			if e, ok := errors.AsType[*DeliveryError](err); ok && e.Refused() {
				refused[i] = err
			}
		})
	}
	err = x.Commit(ctx)
	if e, ok := errors.AsType[*TxnError](err); !ok || e.Kind != TxnAbortable || !e.Refused() {
		t.Errorf("commit: %v", err)
	}
	if err := x.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if len(refused) != 1 || refused[13] == nil {
		t.Errorf("%d refused, the bad one: %v", len(refused), refused[13])
	}
}

// No repetition helps a request that cannot be encoded, and no other broker.
func TestEncodingErrorsOfCoordinatorsAreFinal(t *testing.T) {
	err := fmt.Errorf("add offsets: %w", sarama.PacketEncodingError{Info: "string too long"})
	if passes(err) {
		t.Error("to be tried again")
	}
	if kind := txnKind(err); kind != TxnFatal {
		t.Errorf("the transaction is %v", kind)
	}
	if kind := txnKind(&DeliveryError{Kind: DeliveryRefused, Err: err}); kind != TxnAbortable {
		t.Errorf("the transaction of a message is %v", kind)
	}
}

// What `producer` says beats the keys, for our producer too.
func TestProducerHasItsProperties(t *testing.T) {
	c := settings("localhost:9092")
	c.Partitioner = "consistent_random"
	c.Producer = []string{"message.timeout.ms=1234", "bootstrap.servers=elsewhere:1"}
	p, err := New(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.timeout != 1234*time.Millisecond || p.seeds[0] != "elsewhere:1" {
		t.Errorf("timeout %v, brokers %v", p.timeout, p.seeds)
	}
}
