package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/seeds"
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
		e, ok := errors.AsType[*producer.TxnError](err)
		if !ok || e.Kind != producer.TxnAbortable && e.Kind != producer.TxnFenced {
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
func numberedTxn(ctx context.Context, p *producer.TxnProducer, first, n, partitions int) error {
	if err := p.Begin(ctx); err != nil {
		return err
	}
	for i := first; i < first+n; i++ {
		m := producer.Message{Topic: "out", Partition: partition(int32(i % partitions)), Value: fmt.Append(nil, i)}
		if err := p.Send(ctx, m, nil); err != nil {
			return err
		}
	}
	offsets := map[kafka.TopicPartition]kafka.Commit{{Topic: "out", Partition: 0}: {Offset: int64(first + n)}}
	if err := p.SendOffsets("group", kafka.NoMember, offsets); err != nil {
		return err
	}
	return p.Commit(ctx)
}

// A frozen broker among three holds transactions up for no longer than the cluster
// takes to replace it as coordinator and leader.
func TestTxnBesideAFrozenBroker(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Brokers: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := c.CreateTopic(ctx, "out", 1, 3); err != nil {
		t.Fatal(err)
	}
	conf := settings(c.Addrs()...)
	conf.SocketTimeout, conf.MessageTimeout = 30*time.Second, 5*time.Minute
	once := func(id string) error {
		p, err := producer.NewTxnProducer(ctx, conf, producer.TxnOptions{Logger: testLog(t), ID: id})
		if err != nil {
			return err
		}
		defer func() { _ = p.Close(ctx) }() // its transaction is committed
		return numberedTxn(ctx, p, 0, 10, 1)
	}
	if err := once("before"); err != nil { // makes the topics of the coordinators
		t.Fatal(err)
	}
	frozen := c.Broker(1)
	if err := frozen.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = frozen.Continue() }() // the cluster is stopped next
	var wg sync.WaitGroup
	for i := range 6 { // of several coordinators
		wg.Go(func() {
			began := time.Now()
			if err := once(fmt.Sprint("id-", i)); err != nil || time.Since(began) > seeds.AtMost(50*time.Second) {
				t.Errorf("transaction %d took %v: %v", i, time.Since(began), err)
			}
			t.Logf("transaction %d: %v", i, time.Since(began))
		})
	}
	wg.Wait()
}

// A batch that is too large for its topic is split in a transaction.
func TestTxnSplitsABatchForItsTopic(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Properties: map[string]string{"message.max.bytes": "50000"}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.CreateTopic(ctx, "out", 1, 1); err != nil {
		t.Fatal(err)
	}
	p := newTxnProducer(t, c.Addrs(), "id")
	values := make([]string, 100)
	for i := range values {
		values[i] = fmt.Sprintf("%03d", i) + strings.Repeat("x", 2000)
	}
	begin(t, p, "out", "", -1, values...)
	commit(t, p)
	if got := contents(t, c.Addrs(), "out", sarama.ReadCommitted)[0]; !slices.Equal(got, values) {
		t.Errorf("%d messages are committed, want %d", len(got), len(values))
	}
}
