package ctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/kafka"
)

// letterPrefix begins the headers that a worker adds to a dead letter; see
// package worker.
const letterPrefix = "racecar-dlq-"

// letter is a record of a dead-letter topic.
type letter struct {
	*sarama.ConsumerMessage
}

// about is what a worker noted, by the header's name without the prefix.
func (l letter) about(name string) string {
	value := ""
	for _, h := range l.Headers {
		if string(h.Key) == letterPrefix+name {
			value = string(h.Value) // the last: a letter may have died twice
		}
	}
	return value
}

// origin is where the message failed; not ok when the record is no dead letter.
func (l letter) origin() (p kafka.TopicPartition, offset int64, ok bool) {
	n, err := strconv.ParseInt(l.about("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(l.about("offset"), 10, 64)
	p = kafka.TopicPartition{Topic: l.about("topic"), Partition: int32(n)}
	return p, offset, p.Topic != "" && err == nil && err2 == nil
}

// original are the headers the message had.
func (l letter) original() []sarama.RecordHeader {
	var own []sarama.RecordHeader
	for _, h := range l.Headers {
		if !strings.HasPrefix(string(h.Key), letterPrefix) {
			own = append(own, *h)
		}
	}
	return own
}

// errEnough ends a reading early, without being an error.
var errEnough = errors.New("enough")

// settled is how long a partition may bring nothing before it is taken for read
// to its end, or the broker for one that does not answer: nothingBetween finds out.
const settled = 2 * time.Second

// read hands over the records of a topic from the given positions (where there
// is none: from the beginning) up to the end as it is now, partition by
// partition in order.
func (k *cluster) read(ctx context.Context, topic string, from map[kafka.TopicPartition]kafka.Commit, each func(letter) error) error {
	partitions, err := k.partitions(topic)
	if err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(k.Client)
	if err != nil {
		return err
	}
	defer func() { _ = consumer.Close() }()
	for _, p := range slices.Sorted(slices.Values(partitions)) {
		tp := kafka.TopicPartition{Topic: topic, Partition: p}
		begin, err := k.GetOffset(topic, p, sarama.OffsetOldest)
		if err != nil {
			return errorAbout(tp, err)
		}
		end, err := k.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return errorAbout(tp, err)
		}
		if at, ok := from[tp]; ok {
			begin = max(begin, at.Offset)
		}
		if begin >= end {
			continue
		}
		next, err := readPartition(ctx, consumer, tp, begin, end, each)
		if err == nil && next < end {
			err = k.nothingBetween(tp, next, end)
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return errorAbout(tp, err)
		}
	}
	return nil
}

// nothingBetween is an error unless there is nothing to read from offset next to
// end: a fetch that was not answered in time would look the same.
func (k *cluster) nothingBetween(p kafka.TopicPartition, next, end int64) error {
	hollow, err := k.Hollow(p, next, end)
	if err == nil && !hollow {
		err = fmt.Errorf("read up to offset %d of %d only: the broker sends no more, or a transaction is still open there; try again", next, end)
	}
	return err
}

// readPartition returns the offset after the last record that was handed over, or
// end. It gives up when nothing comes for a while.
func readPartition(ctx context.Context, consumer sarama.Consumer, p kafka.TopicPartition, begin, end int64, each func(letter) error) (next int64, err error) {
	pc, err := consumer.ConsumePartition(p.Topic, p.Partition, begin)
	if err != nil {
		return begin, err
	}
	defer pc.AsyncClose()
	quiet := time.NewTimer(settled)
	defer quiet.Stop()
	next = begin
	for {
		select {
		case m, ok := <-pc.Messages():
			if !ok { // its error says why
				return next, lastError(pc)
			}
			if m.Offset >= end {
				return end, nil
			}
			if err := each(letter{m}); err != nil {
				return next, err
			}
			next = m.Offset + 1
			if next == end {
				return end, nil
			}
			quiet.Reset(settled)
		case err, ok := <-pc.Errors():
			if !ok {
				return next, errGaveUp
			}
			return next, err.Err
		case <-quiet.C:
			return next, nil
		case <-ctx.Done():
			return next, ctx.Err()
		}
	}
}

// errGaveUp is sarama's end of a partition without a word.
var errGaveUp = errors.New("the client gave up reading it")

// lastError is what ended pc.
func lastError(pc sarama.PartitionConsumer) error {
	if err, ok := <-pc.Errors(); ok {
		return err.Err
	}
	return errGaveUp
}

// replayer sends dead letters back, each exactly once: the record and the
// progress are written in one transaction, and the transactional id keeps two
// from doing so at once.
type replayer struct {
	group    string
	topic    string // the dead-letter topic
	to       string // empty: where each came from
	choose   kafka.Partitioner
	client   *kafka.Client // not the reader's: an answer there waits behind a fetch
	producer sarama.SyncProducer
	topics   map[string][]int32 // partitions by topic, asked once

	batch []*sarama.ProducerMessage
	next  map[int32]int64 // progress after batch, by partition of the dead-letter topic
}

// replayBatch is how many letters go into one transaction.
const replayBatch = 500

// add takes a letter; when enough are there they are sent.
func (r *replayer) add(l letter) error {
	m, err := r.message(l)
	if err != nil {
		return err
	}
	r.batch = append(r.batch, m)
	r.next[l.Partition] = l.Offset + 1
	if len(r.batch) < replayBatch {
		return nil
	}
	return r.flush()
}

// message is what a letter was made of.
func (r *replayer) message(l letter) (*sarama.ProducerMessage, error) {
	m := &sarama.ProducerMessage{Topic: r.to, Headers: l.original(), Partition: -1}
	if l.Key != nil {
		m.Key = sarama.ByteEncoder(l.Key)
	}
	if l.Value != nil {
		m.Value = sarama.ByteEncoder(l.Value)
	}
	from, _, ok := l.origin()
	if r.to == "" {
		if !ok {
			return nil, fmt.Errorf("offset %d does not say where it came from: give --to TOPIC", l.Offset)
		}
		m.Topic, m.Partition = from.Topic, from.Partition
	}
	partitions, asked := r.topics[m.Topic]
	if !asked {
		var err error
		if partitions, err = partitionsOf(r.client, m.Topic); err != nil {
			return nil, err
		}
		r.topics[m.Topic] = partitions
	}
	// To the partition it came from, so that it stays among its like; if that is
	// no more, or for another topic, as the configured partitioner says.
	if !slices.Contains(partitions, m.Partition) {
		if m.Partition = r.choose.Partition(l.Key, int32(len(partitions))); m.Partition == kafka.AnyPartition {
			m.Partition = int32(l.Offset % int64(len(partitions)))
		}
	}
	return m, nil
}

// flush sends the batch and its progress as one.
func (r *replayer) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	if err := r.producer.BeginTxn(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	err := r.producer.SendMessages(r.batch)
	if err == nil {
		var offsets []*sarama.PartitionOffsetMetadata
		for _, p := range slices.Sorted(maps.Keys(r.next)) {
			offsets = append(offsets, &sarama.PartitionOffsetMetadata{Partition: p, Offset: r.next[p], LeaderEpoch: -1})
		}
		err = r.producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{r.topic: offsets}, r.group)
	}
	if err == nil {
		err = r.producer.CommitTxn()
	}
	if err != nil {
		return r.giveUp(err)
	}
	r.batch, r.next = r.batch[:0], map[int32]int64{}
	return nil
}

func (r *replayer) giveUp(err error) error {
	var each sarama.ProducerErrors
	if errors.As(err, &each) && len(each) > 0 {
		err = each[0].Err
	}
	if r.producer.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0 {
		return fmt.Errorf("another replay of %q has taken over: %w", r.topic, err)
	}
	if aerr := r.producer.AbortTxn(); aerr != nil { // else the broker does it, after its transaction timeout
		return errors.Join(fmt.Errorf("replay: %w", err), fmt.Errorf("abort transaction: %w", aerr))
	}
	return fmt.Errorf("replay: %w", err)
}
