package ctl

import (
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/kafka"
)

// start is where a command begins in a partition: at an offset, or at a time in ms
// (sarama's constants for earliest and latest included).
type start struct {
	offset int64 // -1: see ms
	ms     int64
}

// parseStart reads what reset-offsets --to and consume --from take. A time without a
// zone is UTC, as in the log.
func parseStart(flag, s string, now time.Time) (start, error) {
	switch s {
	case "earliest":
		return start{-1, sarama.OffsetOldest}, nil
	case "latest":
		return start{-1, sarama.OffsetNewest}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return start{}, fmt.Errorf("%s %s: an offset cannot be negative", flag, s)
		}
		return start{offset: n}, nil
	}
	t, err := parseTime(s, now)
	switch {
	case err != nil:
		return start{}, fmt.Errorf("%s %q: expected earliest, latest, an offset, or a time like 2026-11-23T09:00:00Z or 2h (ago)", flag, s)
	case t.After(now):
		return start{}, fmt.Errorf("%s %s: %s is in the future; it is %s now (a time without a zone is UTC)", flag, s, t.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case t.UnixMilli() < 0:
		return start{}, fmt.Errorf("%s %s: Kafka has no times before 1970", flag, s)
	}
	return start{-1, t.UnixMilli()}, nil
}

func parseTime(s string, now time.Time) (t time.Time, err error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	} {
		if t, err = time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return t, err
}

// instant is the time that is meant, or nil.
func (s start) instant() *time.Time {
	if s.offset >= 0 || s.ms < 0 {
		return nil
	}
	t := time.UnixMilli(s.ms).UTC()
	return &t
}

// resolve turns a start into an offset of a partition. A time after the last
// message is the end.
func (k *cluster) resolve(p kafka.TopicPartition, from start) (int64, error) {
	earliest, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetOldest)
	if err != nil {
		return 0, err
	}
	latest, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetNewest)
	if err != nil {
		return 0, err
	}
	switch {
	case from.offset >= 0:
		if from.offset < earliest || from.offset > latest {
			return 0, fmt.Errorf("offset %d is not there; it holds %d to %d", from.offset, earliest, latest)
		}
		return from.offset, nil
	case from.ms == sarama.OffsetOldest:
		return earliest, nil
	case from.ms == sarama.OffsetNewest:
		return latest, nil
	}
	offset, err := k.GetOffset(p.Topic, p.Partition, from.ms)
	if err != nil {
		return 0, err
	}
	if offset < 0 {
		return latest, nil
	}
	return offset, nil
}
