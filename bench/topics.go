package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// messages returns how many messages of a topic a row uses: at most 1 GiB.
func (b *bench) messages(r *row, t topic) uint64 {
	n := float64(b.opts.messages)
	if r.share > 0 {
		n *= r.share
	}
	return uint64(max(1, min(n, float64(1<<30/max(t.size, 1)))))
}

// topicName returns the name of the topic that an entrant consumes.
func (b *bench) topicName(r *row, e entrant) string {
	t := r.topicOf(e)
	return fmt.Sprintf("bench-%v-%d", t, b.messages(r, t))
}

// fill fills the topic unless it is full already, and returns its number of messages.
func (b *bench) fill(ctx context.Context, r *row, e entrant) (uint64, error) {
	t, name := r.topicOf(e), b.topicName(r, e)
	n := b.messages(r, t)
	if b.filled[name] {
		return n, nil
	}
	created, err := b.create(ctx, name, t.partitions)
	if err != nil {
		return 0, err
	}
	if !created {
		end, err := b.endOffsets(name, t.partitions)
		if err == nil && end != n {
			err = fmt.Errorf("topic %s is there and holds %d messages instead of %d: delete it", name, end, n)
		}
		b.filled[name] = err == nil
		return n, err
	}
	b.say("filling %s with %d messages", name, n)
	if err := b.produce(ctx, name, t, n); err != nil {
		return 0, fmt.Errorf("fill %s: %w", name, err)
	}
	b.filled[name] = true
	return n, nil
}

// codecs by name.
var codecs = map[string]kgo.CompressionCodec{
	"": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (b *bench) produce(ctx context.Context, name string, t topic, n uint64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[t.codec]), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	values := payloads(t.size)
	var failed atomic.Pointer[error]
	first := 0
	if t.bare0 {
		first = 1
	}
	// Runs of messages for one partition, so that batches are as large as a busy producer's.
	for i := range n {
		partition := first + int(i/64)%(t.partitions-first)
		cl.Produce(ctx, &kgo.Record{Topic: name, Partition: int32(partition), Value: values[i%uint64(len(values))]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// payloads returns a thousand values of a size that can be compressed: JSON with words and
// numbers. They are the same each time.
func payloads(size int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 500)
	for i := range words {
		w := make([]byte, 3+random.IntN(8))
		for j := range w {
			w[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(w)
	}
	values := make([][]byte, 1000)
	for i := range values {
		v := fmt.Appendf(nil, `{"id":%d,"user":"%x","at":%d,"text":"`, random.Uint32(), random.Uint64(), 1_700_000_000_000+uint64(random.Uint32()))
		for len(v) < size {
			v = append(append(v, words[random.IntN(len(words))]...), ' ')
		}
		values[i] = v[:size]
	}
	return values
}

// fresh creates an empty topic, which is removed afterwards.
func (b *bench) fresh(ctx context.Context, partitions int) (name string, remove func(), err error) {
	name = b.group()
	if _, err := b.create(ctx, name, partitions); err != nil {
		return "", nil, err
	}
	return name, func() {
		if err := b.admin.DeleteTopic(name); err != nil {
			b.say("delete %s: %v", name, err)
		}
	}, nil
}

// create creates a topic; false if it exists.
func (b *bench) create(ctx context.Context, name string, partitions int) (bool, error) {
	err := b.admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: -1}, false)
	if errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create topic %s: %w", name, err)
	}
	for range 500 { // until each partition has a leader that this client knows
		if err = b.client.RefreshMetadata(name); err == nil {
			if _, err = b.endOffsets(name, partitions); err == nil {
				return true, nil
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("topic %s: %w", name, err)
}

// endOffsets returns the sum of a topic's end offsets.
func (b *bench) endOffsets(name string, partitions int) (sum uint64, err error) {
	for p := range partitions {
		n, err := b.client.GetOffset(name, int32(p), sarama.OffsetNewest)
		if err != nil {
			return 0, err
		}
		sum += uint64(n)
	}
	return sum, nil
}

// arrived waits until the topic has n messages.
func (b *bench) arrived(name string, partitions int, n uint64) func() (uint64, bool) {
	return func() (uint64, bool) {
		end, err := b.endOffsets(name, partitions)
		return end, err == nil && end >= n
	}
}

// flow is a producer at a steady rate.
type flow struct {
	cancel context.CancelFunc
	ended  chan error
	err    error
	over   bool
}

// flow produces n messages per second. Each holds the time at which the producer received it.
func (b *bench) flow(ctx context.Context, name string, partitions, rate int) (*flow, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &flow{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		defer cl.Close()
		f.ended <- pour(ctx, cl, name, partitions, rate)
	}()
	return f, nil
}

func pour(ctx context.Context, cl *kgo.Client, name string, partitions, rate int) error {
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			failed.CompareAndSwap(nil, &err)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, sent := time.Now(), 0
	for failed.Load() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cl.Flush(context.WithoutCancel(ctx))
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
			value := make([]byte, 200)
			binary.LittleEndian.PutUint64(value, uint64(time.Now().UnixNano()))
			cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: name, Partition: int32(sent % partitions), Value: value}, done)
		}
	}
	return *failed.Load()
}

// stop stops the flow. Further calls do nothing.
func (f *flow) stop() error {
	f.cancel()
	if !f.over {
		f.err, f.over = <-f.ended, true
	}
	return f.err
}
