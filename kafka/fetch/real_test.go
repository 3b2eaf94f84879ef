package fetch_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// realCluster starts one of the test's own.
func realCluster(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	if !cluster.Real() {
		t.Skip("needs Apache Kafka: set KAFKA=real")
	}
	return cluster.Start(t, o)
}

// send produces messages one by one, each in a batch of its own.
func send(t *testing.T, addrs []string, topic string, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, r := range records {
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a disk changes is a corrupt batch with its offsets, and what comes behind it is read.
func TestCorruptOnDisk(t *testing.T) {
	dir := t.TempDir()
	c := realCluster(t, cluster.Options{Dir: dir})
	if err := c.CreateTopic(t.Context(), "topic", 1, 1); err != nil {
		t.Fatal(err)
	}
	send(t, c.Addrs(), "topic", kgo.StringRecord("first"), kgo.StringRecord("second"), kgo.StringRecord("third"))
	if err := c.Broker(1).Stop(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "broker-1", "topic-0", "*.log"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("second"))
	data[at] ^= 1
	if err := os.WriteFile(segments[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Broker(1).Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := newFetcher(t, c.Addrs(), nil)
	r := add(t, f, "topic", 0, nothing, fetch.Beginning)
	r.start()
	var items []fetch.Item
	r.untilIdle("three batches", func() bool {
		for item := r.p.Next(); item.Batch != nil; item = r.p.Next() {
			items = append(items, item)
		}
		return len(items) == 3
	})
	for i, item := range items {
		_, err := r.messages(item.Batch)
		var corrupt *fetch.CorruptError
		if i != 1 && err != nil || i == 1 && (!errors.As(err, &corrupt) || corrupt.First != 1 || corrupt.Next != 2) {
			t.Errorf("batch %d: %v", i, err)
		}
		r.p.Release(item.Batch)
	}
}

func TestCompactedOnDisk(t *testing.T) {
	c := realCluster(t, cluster.Options{Properties: map[string]string{
		"log.cleaner.backoff.ms": "100", "log.cleaner.min.cleanable.ratio": "0.01", "log.cleanup.policy": "compact",
		"log.roll.ms": "300", "log.initial.task.delay.ms": "100", "log.retention.check.interval.ms": "300",
	}})
	if err := c.CreateTopic(t.Context(), "topic", 1, 1); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, kgo.KeyStringRecord(fmt.Sprint(i%3), fmt.Sprint(i)))
	}
	send(t, c.Addrs(), "topic", records...)
	end := int64(100)
	f := newFetcher(t, c.Addrs(), nil)
	for r := (*reader)(nil); r == nil || len(r.offsets) > 50; {
		select { // another segment
		case <-time.After(400 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("no compaction")
		}
		send(t, c.Addrs(), "topic", kgo.KeyStringRecord("other", "x"))
		end++
		r = add(t, f, "topic", 0, startAt(2), fetch.Beginning)
		r.start()
		r.until("end", func() bool { next, caughtUp := r.p.Fetched(); return caughtUp && next >= end && r.from >= end })
		if !slices.IsSorted(r.offsets) || !slices.Contains(r.offsets, 99) || len(r.moved) > 0 {
			t.Fatalf("offsets %v, moved %v", r.offsets, r.moved)
		}
	}
}

// The nearest replica is read from; without it, and without the leader, what is left.
func TestNearestReplica(t *testing.T) {
	c := realCluster(t, cluster.Options{Brokers: 3, MinInSync: 1, Properties: map[string]string{
		"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
	}})
	if err := c.CreateTopic(t.Context(), "topic", 1, 3); err != nil {
		t.Fatal(err)
	}
	leader, err := c.Leader("topic", 0)
	if err != nil {
		t.Fatal(err)
	}
	near := c.Broker(leader.ID%3 + 1)
	var mu sync.Mutex
	bytes := map[string]int{}
	f := newFetcher(t, c.Addrs(), func(o *fetch.Options) {
		o.Rack = cluster.Rack(near.ID)
		o.Access = tap{access: access{c.Addrs()}, answer: func(addr string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) && len(frame) > 1000 {
				mu.Lock()
				bytes[addr] += len(frame)
				mu.Unlock()
			}
			return frame
		}}
	})
	send := func(n int) {
		t.Helper()
		var records []*kgo.Record
		for range n {
			records = append(records, kgo.StringRecord(fmt.Sprintf("%01000d", 0)))
		}
		send(t, c.Addrs(), "topic", records...)
	}
	send(100)
	r := add(t, f, "topic", 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 100)...)
	mu.Lock()
	if len(bytes) != 1 || bytes[near.Addr()] < 100_000 {
		t.Errorf("bytes of %v, the nearest is %s", bytes, near.Addr())
	}
	mu.Unlock()
	for i, b := range []*cluster.Broker{near, leader} {
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		send(10)
		r.has(span(0, int64(110+10*i))...)
		if err := b.Restart(t.Context()); err != nil { // two of three make the quorum
			t.Fatal(err)
		}
		if err := c.AwaitInSync(t.Context(), "topic"); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.moved) > 0 {
		t.Errorf("moved %v", r.moved)
	}
}

// Large batches cross the network about once, whatever sizes they have.
func TestLargeBatchesAreTransferredOnce(t *testing.T) {
	c := realCluster(t, cluster.Options{})
	if err := c.CreateTopic(t.Context(), "topic", 1, 1); err != nil {
		t.Fatal(err)
	}
	var data, transferred atomic.Int64
	for _, kib := range []int{700, 300, 500, 900, 20, 600, 400, 800, 500, 700, 300, 900} {
		send(t, c.Addrs(), "topic", &kgo.Record{Value: make([]byte, kib<<10)})
		data.Add(int64(kib << 10))
	}
	f := newFetcher(t, c.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{c.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) {
				transferred.Add(int64(len(frame)))
			}
			return frame
		}}
	})
	r := add(t, f, "topic", 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 12)...)
	// The first answer has the beginning of the second batch, and the small one comes alone.
	if most := data.Load() + 500<<10; transferred.Load() > most {
		t.Errorf("%d bytes were transferred for %d", transferred.Load(), data.Load())
	}
}
