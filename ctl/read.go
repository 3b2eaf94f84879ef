package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/kafka"
)

// errEnough ends a reading early, without being an error.
var errEnough = errors.New("enough")

const (
	// silence is how long a partition may bring nothing before it is looked whether
	// anything is left to come: markers of transactions are never handed over.
	silence = 250 * time.Millisecond
	// settled is how long it may bring nothing though something is left.
	settled = 2 * time.Second
)

// offsetRange is what is read of a partition: from an offset up to, but not
// including, another.
type offsetRange struct {
	kafka.TopicPartition
	from, to int64
}

// ranges are the partitions of a topic from the given offsets (where there is
// none: from the beginning) up to the end as it is now, in order.
func (k *cluster) ranges(topic string, from map[kafka.TopicPartition]int64) ([]offsetRange, error) {
	partitions, err := k.partitions(topic)
	if err != nil {
		return nil, err
	}
	var all []offsetRange
	for _, p := range slices.Sorted(slices.Values(partitions)) {
		tp := kafka.TopicPartition{Topic: topic, Partition: p}
		begin, err := k.GetOffset(topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, errorAbout(tp, err)
		}
		end, err := k.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return nil, errorAbout(tp, err)
		}
		all = append(all, offsetRange{tp, max(begin, from[tp]), end})
	}
	return all, nil
}

// count is how many offsets there are to read.
func count(ranges []offsetRange) (n int64) {
	for _, r := range ranges {
		n += max(0, r.to-r.from)
	}
	return n
}

// read hands over the committed records in these ranges, partition by partition.
func (k *cluster) read(ctx context.Context, ranges []offsetRange, each func(*sarama.ConsumerMessage) error) error {
	consumer, end, err := k.consumer(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, r := range ranges {
		if r.from >= r.to {
			continue
		}
		err := k.readPartition(ctx, consumer, r, each)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return errorAbout(r.TopicPartition, err)
		}
	}
	return nil
}

// consumer has a client of its own, so that other requests do not wait behind a fetch.
func (k *cluster) consumer(ctx context.Context) (c sarama.Consumer, end func(), err error) {
	client, err := newClient(ctx, k.conf)
	if err != nil {
		return nil, nil, err
	}
	if c, err = sarama.NewConsumerFromClient(client); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return c, func() {
		_ = c.Close() // nothing is left that could fail
		_ = client.Close()
	}, nil
}

// readPartition returns nil when everything before r.to was handed over.
func (k *cluster) readPartition(ctx context.Context, consumer sarama.Consumer, r offsetRange, each func(*sarama.ConsumerMessage) error) error {
	pc, err := consumer.ConsumePartition(r.Topic, r.Partition, r.from)
	if err != nil {
		return err
	}
	defer pc.AsyncClose()
	last := time.Now()
	quiet := time.NewTicker(silence)
	defer quiet.Stop()
	for r.from < r.to {
		select {
		case m, ok := <-pc.Messages():
			switch {
			case !ok: // its error says why
				return lastError(pc)
			case m.Offset >= r.to:
				return nil
			}
			if err := each(m); err != nil {
				return err
			}
			r.from, last = m.Offset+1, time.Now()
		case err, ok := <-pc.Errors():
			if !ok {
				return errGaveUp
			}
			return err.Err
		case <-quiet.C:
			if time.Since(last) < silence {
				continue
			}
			if hollow, err := k.Hollow(r.TopicPartition, r.from, r.to); hollow || err != nil {
				return err
			}
			if time.Since(last) >= settled {
				return fmt.Errorf("read up to offset %d of %d only: the broker sends no more, or a transaction is still open there; try again", r.from, r.to)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// errGaveUp is sarama's end of a partition without a word.
var errGaveUp = errors.New("the client gave up reading it")

// lastError returns the error that ended pc.
func lastError(pc sarama.PartitionConsumer) error {
	if err, ok := <-pc.Errors(); ok {
		return err.Err
	}
	return errGaveUp
}
