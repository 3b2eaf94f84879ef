package worker

import (
	"context"
	"sync"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// starts answers sarama's question where a partition begins that has no commit
// (or one out of range). sarama has one setting for all topics; we have one per
// subscription. It also remembers the answers: a claim only says "oldest".
type starts struct {
	m *membership

	mu     sync.Mutex
	oldest map[tp]int64 // as answered last
}

// answer is a kafka.GetOffsetFunc. sarama asks for the newest and the oldest
// offset, checks that the committed one lies between them, and otherwise begins
// at what we say is the oldest. So for those that start from the end the newest
// is said to be the oldest, unless something is committed that is in range.
func (s *starts) answer(topic string, partition int32, time int64) (int64, bool, error) {
	if time != sarama.OffsetOldest {
		return 0, false, nil
	}
	client := s.m.client.Client
	offset, err := client.GetOffset(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return 0, true, err
	}
	k := tp{topic, partition}
	if s.m.startFrom(topic) == racecar.End {
		newest, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		if err != nil {
			return 0, true, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		key := kafka.TopicPartition{Topic: topic, Partition: partition}
		got, err := s.m.offsets.Fetch(ctx, []kafka.TopicPartition{key})
		if err != nil {
			return 0, true, err
		}
		if c := got[key].Offset; c < offset || c > newest {
			offset = newest
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oldest == nil {
		s.oldest = map[tp]int64{}
	}
	s.oldest[k] = offset
	return offset, true, nil
}

// of returns where a partition begins that sarama began at the "oldest" offset.
func (s *starts) of(k tp) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest[k]
}
