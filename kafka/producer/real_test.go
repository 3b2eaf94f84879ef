package producer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/seeds"
)

// longRun is how long the tests of this file keep producing: two minutes in a soak.
func longRun(otherwise time.Duration) time.Duration {
	if os.Getenv(seeds.SoakVar) != "" {
		return 2 * time.Minute
	}
	return otherwise
}

// One broker after the other is stopped gracefully, killed, or frozen, and restarted, while
// messages are produced all the time. With acks=all, replication 3 and min.insync.replicas 2
// no message may be lost or reordered; with idempotence none may be duplicated.
func TestProducerWhileBrokersRestart(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Brokers: 3})
	const partitions = 6
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := c.CreateTopic(ctx, "out", partitions, 3); err != nil {
		t.Fatal(err)
	}
	conf := settings(c.Addrs()...)
	// As by default: when the leader is the next to go each time, a partition is
	// without one for half a minute.
	conf.MessageTimeout = 5 * time.Minute
	p := newProducer(t, conf, producer.Options{Logger: testLog(t)})
	run, stop := context.WithTimeout(ctx, longRun(30*time.Second))
	defer stop()
	var restarts atomic.Int64
	broken := make(chan error, 1)
	go func() { broken <- restartBrokers(run, ctx, c, &restarts) }()

	var d deliveries
	n := 0
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for run.Err() == nil {
		sendNumberedOne(t, p, n, partitions, &d)
		n++
		<-pace.C
	}
	if err := <-broken; err != nil {
		t.Fatal(err)
	}
	for i := range partitions { // as many for each partition
		sendNumberedOne(t, p, n+i, partitions, &d)
	}
	n += partitions
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, c.Addrs(), "out", partitions, n, &d)
	t.Logf("%d messages, %d restarts", n, restarts.Load())
}

// restartBrokers takes the brokers down one after the other until run ends; the
// last one comes back within ctx.
func restartBrokers(run, ctx context.Context, c *cluster.Cluster, count *atomic.Int64) error {
	for i := 0; run.Err() == nil; i++ {
		b := c.Broker(i%3 + 1)
		var err error
		switch i / 3 % 3 {
		case 0:
			err = b.Stop()
		case 1:
			err = b.Kill()
		case 2:
			if err = b.Pause(); err == nil {
				wait(run, 8*time.Second) // longer than the cluster takes to replace it
				err = b.Continue()
			}
		}
		if err != nil {
			return fmt.Errorf("broker %d: %w", b.ID, err)
		}
		if b.State() == cluster.Stopped {
			if err := b.Restart(ctx); err != nil {
				return fmt.Errorf("broker %d: %w", b.ID, err)
			}
		}
		if err := c.AwaitInSync(ctx, "out"); err != nil {
			return err
		}
		count.Add(1)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// With one broker away, messages without a key go to the partitions of the others.
func TestProducerAvoidsPartitionsWithoutALeader(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Brokers: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.CreateTopic(ctx, "out", 6, 1); err != nil {
		t.Fatal(err)
	}
	conf := settings(c.Addrs()...)
	conf.MessageTimeout = 20 * time.Second
	p := newProducer(t, conf, producer.Options{Logger: testLog(t)})
	var d deliveries
	if err := p.Send(ctx, producer.Message{Topic: "out"}, d.done("first")); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Broker(2).Kill(); err != nil {
		t.Fatal(err)
	}
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for i := range 600 {
		if err := p.Send(ctx, producer.Message{Topic: "out", Value: []byte("v")}, d.done(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		<-pace.C
	}
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range 600 {
		e, _ := d.get(fmt.Sprint(i))
		if de, ok := errors.AsType[*producer.DeliveryError](e.err); ok && !de.MaybeDelivered { // else it was on its way to the broker
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d of 600 messages were not delivered", failed)
	}
}
