package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/test/judge"
)

// feed produces messages that are numbered per partition, at a steady rate, until
// it is stopped. What it has produced is read back from the topic: a message
// whose acknowledgement got lost is there twice, and counts as two.
type feed struct {
	producer sarama.AsyncProducer
	client   sarama.Client
	topic    string
	rate     int // messages per second
	keys     func(partition int32, number int) sarama.Encoder
	wg       sync.WaitGroup
	stop     context.CancelFunc
	mu       sync.Mutex
	failed   error
	sent     atomic.Int64
}

// ownKeys gives each message a key of its own.
func ownKeys(p int32, number int) sarama.Encoder {
	return sarama.StringEncoder(fmt.Sprintf("%d-%d", p, number))
}

// fewKeys has each partition use 60 keys, which its messages take in no order; every
// eleventh message has none.
func fewKeys(p int32, number int) sarama.Encoder {
	if number%11 == 7 {
		return nil
	}
	return sarama.StringEncoder(fmt.Sprintf("%d-%d", p, rand.IntN(60)))
}

func startFeed(addrs []string, topic string, rate int, keys func(int32, int) sarama.Encoder) (*feed, error) {
	conf := sarama.NewConfig()
	conf.Version = sarama.V3_6_0_0
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Idempotent = true
	conf.Net.MaxOpenRequests = 1
	conf.Producer.Retry.Max = 600
	conf.Producer.Retry.Backoff = 100 * time.Millisecond
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Metadata.RefreshFrequency = 2 * time.Second
	conf.Metadata.Full = false
	client, err := sarama.NewClient(addrs, conf)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	p, err := sarama.NewAsyncProducerFromClient(client)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("feed: %w", err), client.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &feed{producer: p, client: client, topic: topic, rate: rate, keys: keys, stop: stop}
	f.wg.Go(func() { f.run(ctx) })
	f.wg.Go(func() {
		for e := range p.Errors() {
			f.mu.Lock()
			f.failed = errors.Join(f.failed, e.Err)
			f.mu.Unlock()
		}
	})
	return f, nil
}

func (f *feed) run(ctx context.Context) {
	defer f.producer.AsyncClose()
	const tick = 10 * time.Millisecond
	t := time.NewTicker(tick)
	defer t.Stop()
	filler := strings.Repeat("x", 100)
	numbers := map[int32]int{}
	next := 0
	begun, sent := time.Now(), 0
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		partitions, err := f.client.Partitions(f.topic)
		if err != nil || len(partitions) == 0 {
			continue // brokers are away: what is due is made up for
		}
		for due := int(time.Since(begun).Seconds() * float64(f.rate)); sent < due; sent++ {
			p := partitions[next%len(partitions)]
			next++
			m := &sarama.ProducerMessage{Topic: f.topic, Partition: p, Key: f.keys(p, numbers[p]), Value: sarama.StringEncoder(fmt.Sprintf("%d of %d: %s", numbers[p], p, filler))}
			numbers[p]++
			select {
			case f.producer.Input() <- m:
				f.sent.Add(1)
			case <-ctx.Done():
				return
			}
		}
	}
}

// finish stops producing and waits until everything is acknowledged.
func (f *feed) finish() error {
	f.stop()
	f.wg.Wait()
	err := f.client.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.failed, err)
}

// message is what is read back of a topic.
type message struct {
	offset  int64
	key     []byte // nil: none
	content uint64 // the judge's Digest
	origin  string // header: where a copy came from
}

// readTopic reads all committed messages of a topic.
func readTopic(ctx context.Context, addrs []string, topic string) (map[judge.Partition][]message, error) {
	conf := sarama.NewConfig()
	conf.Version = sarama.V3_6_0_0
	conf.Consumer.IsolationLevel = sarama.ReadCommitted
	conf.Consumer.Return.Errors = true
	client, err := sarama.NewClient(addrs, conf)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partitions, err := client.Partitions(topic)
	if err != nil {
		return nil, err
	}
	all := map[judge.Partition][]message{}
	for _, p := range partitions {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}
		messages, err := readPartition(ctx, consumer, topic, p, end)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d back: %w", topic, p, err)
		}
		all[judge.Partition{Topic: topic, Partition: p}] = messages
	}
	return all, nil
}

// idle is how long nothing may come before the rest is taken for markers.
const idle = 2 * time.Second

func readPartition(ctx context.Context, consumer sarama.Consumer, topic string, p int32, end int64) ([]message, error) {
	if end == 0 {
		return nil, nil
	}
	pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	var messages []message
	for {
		select {
		case m := <-pc.Messages():
			read := message{offset: m.Offset, key: m.Key, content: judge.Digest(m.Key, m.Value)}
			for _, h := range m.Headers {
				if string(h.Key) == "origin" {
					read.origin = string(h.Value)
				}
			}
			messages = append(messages, read)
			if m.Offset == end-1 {
				return messages, nil
			}
		case err := <-pc.Errors():
			return nil, err
		case <-time.After(idle): // the last offsets are markers, or aborted
			return messages, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
