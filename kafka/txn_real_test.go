package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// Brokers, and with them coordinators and leaders, go and come back while
// transactions are made one after the other; those that fail are aborted and
// made again. Readers see each message once and in order.
func TestTxnWhileBrokersRestart(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Brokers: 3})
	const partitions = 4
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := c.CreateTopic(ctx, "out", partitions, 3); err != nil {
		t.Fatal(err)
	}
	p := newTxnProducer(t, c.Addrs(), "txn-id")
	run, stop := context.WithTimeout(ctx, longRun(30*time.Second))
	defer stop()
	var restarts atomic.Int64
	broken := make(chan error, 1)
	go func() { broken <- restartBrokers(run, ctx, c, &restarts) }()

	const each = 40 // messages in a transaction
	transactions, failed := 0, map[string]int{}
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for run.Err() == nil {
		err := numberedTxn(ctx, p, transactions*each, each, partitions)
		if err == nil {
			transactions++
			<-pace.C
			continue
		}
		e, ok := errors.AsType[*kafka.TxnError](err)
		if !ok || e.Kind != kafka.TxnAbortable && e.Kind != kafka.TxnFenced {
			t.Fatalf("transaction %d: %v", transactions, err)
		}
		failed[e.Error()]++
		if err := p.Abort(ctx); err != nil {
			t.Fatalf("abort transaction %d: %v", transactions, err)
		}
	}
	if err := <-broken; err != nil {
		t.Fatal(err)
	}
	got := contents(t, c.Addrs(), "out", sarama.ReadCommitted)
	for part := range int32(partitions) {
		var want []string
		for i := int(part); i < transactions*each; i += partitions {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(got[part], want) {
			t.Errorf("partition %d holds %d messages, want %d: %s", part, len(got[part]), len(want), difference(got[part], want))
		}
	}
	t.Logf("%d transactions, %d restarts, failures %v", transactions, restarts.Load(), failed)
}

// numberedTxn makes a transaction of the numbers from first on, with offsets.
func numberedTxn(ctx context.Context, p *kafka.TxnProducer, first, n, partitions int) error {
	if err := p.Begin(ctx); err != nil {
		return err
	}
	for i := first; i < first+n; i++ {
		m := kafka.ProducerMessage{Topic: "out", Partition: partition(int32(i % partitions)), Value: fmt.Append(nil, i)}
		if err := p.Send(ctx, m, nil); err != nil {
			return err
		}
	}
	offsets := map[kafka.TopicPartition]kafka.Commit{{Topic: "out", Partition: 0}: {Offset: int64(first + n)}}
	if err := p.SendOffsets("group", kafka.Outside, offsets); err != nil {
		return err
	}
	return p.Commit(ctx)
}
