package ctl

import (
	"context"
	"errors"
	"slices"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// errEnough ends a reading early, without being an error.
var errEnough = errors.New("enough")

// ranges are the partitions of a topic from the given offsets (where there is
// none: from the beginning) up to the end as it is now, in order.
func (k *cluster) ranges(topic string, from map[kafka.TopicPartition]int64) ([]fetch.Range, error) {
	partitions, err := k.partitions(topic)
	if err != nil {
		return nil, err
	}
	var all []fetch.Range
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
		all = append(all, fetch.Range{Topic: topic, Partition: p, From: max(begin, from[tp]), To: end})
	}
	return all, nil
}

// count is how many offsets there are to read.
func count(ranges []fetch.Range) (n int64) {
	for _, r := range ranges {
		n += max(0, r.To-r.From)
	}
	return n
}

// fetcher reads committed records. It has connections of its own, so that other requests do
// not wait behind a fetch.
func (k *cluster) fetcher() *fetch.Fetcher {
	return fetch.New(fetch.Options{Config: k.conf, Access: k.access, ReadCommitted: true})
}

// read hands over the committed records in these ranges, partition by partition.
func (k *cluster) read(ctx context.Context, ranges []fetch.Range, each func(*racecar.Message) error) error {
	f := k.fetcher()
	defer f.Close()
	if err := f.Read(ctx, ranges, each); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// follow hands over new records of all partitions until ctx ends, which is how an
// interrupt ends it.
func (k *cluster) follow(ctx context.Context, a *app, ranges []fetch.Range, each func(*racecar.Message) error) error {
	f := k.fetcher()
	defer f.Close()
	err := f.Follow(ctx, ranges, each, func(problem error) { a.note("=> %s\n", problem) })
	if !errors.Is(err, errEnough) {
		return err
	}
	return nil
}
