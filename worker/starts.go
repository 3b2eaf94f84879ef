package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// starts decides where a partition begins that has no commit, or one out of range, and
// answers sarama's question for it. sarama has one setting for all topics; we have one per
// subscription. It also remembers the answers: a claim only says "oldest".
//
// StartFrom End is about what was there when the group was new to the subscription. What
// appears later (a topic, a partition) was written for somebody to read, and begins at its
// beginning: whoever discovers it late would otherwise leave out what came before.
type starts struct {
	m       *membership
	decided bool           // decide is through; of the membership's goroutine
	fromEnd map[string]int // topics whose partitions below that number begin at their end; not written once decided

	mu     sync.Mutex
	oldest map[tp]int64 // as answered last
}

// decide finds out, once and before the first join, which partitions begin at their end:
// those that are there, if the group has no offset for any topic of their subscription.
// All members of a group's first generation look before any of them can commit, so they
// agree; whoever comes later finds commits.
func (s *starts) decide(ctx context.Context) error {
	if s.decided {
		return nil
	}
	fromEnd := map[string]int{}
	if slices.ContainsFunc(s.m.subs, func(sub racecar.Subscription) bool { return sub.StartFrom == racecar.End }) {
		found, _, err := s.m.lookUpTopics(ctx)
		if err != nil {
			return err
		}
		topics := make([]map[string]int, len(s.m.subs)) // by subscription
		for t, n := range found {
			if i := s.m.subscriptionOf(t); i >= 0 && s.m.subs[i].StartFrom == racecar.End {
				if topics[i] == nil {
					topics[i] = map[string]int{}
				}
				topics[i][t] = n.partitions
			}
		}
		for _, of := range topics {
			known, err := s.groupKnows(ctx, of)
			if err != nil {
				return err
			}
			if !known {
				maps.Copy(fromEnd, of)
			}
		}
	}
	s.fromEnd, s.decided = fromEnd, true
	return nil
}

// groupKnows reports whether the group has an offset for any partition of these topics.
func (s *starts) groupKnows(ctx context.Context, topics map[string]int) (bool, error) {
	var all []kafka.TopicPartition
	for t, n := range topics {
		for i := range int32(n) {
			all = append(all, kafka.TopicPartition{Topic: t, Partition: i})
		}
	}
	if len(all) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	got, err := s.m.offsets.Fetch(ctx, all)
	if errors.Is(err, sarama.ErrUnstableOffsetCommit) {
		return true, nil // one of a transaction that has not ended
	}
	for _, c := range got {
		if c.Offset >= 0 {
			return true, err
		}
	}
	return false, err
}

// answer is a kafka.GetOffsetFunc. sarama asks for the newest and the oldest
// offset, checks that the committed one lies between them, and otherwise begins
// at what we say is the oldest. So for those that start from the end the newest
// is said to be the oldest, unless something is committed that is in range.
//
// A topic that was made anew begins at its beginning: what is committed was another's.
// A commit below the oldest offset goes on at the oldest, whatever StartFrom says: what
// lies behind it was not processed. One beyond the end goes where StartFrom says.
func (s *starts) answer(topic string, partition int32, time int64) (int64, bool, error) {
	_, fresh := s.m.isFresh(tp{topic, partition})
	if time != sarama.OffsetOldest {
		return -1, fresh, nil // a committed offset is beyond that: out of range
	}
	client := s.m.client.Client
	offset, err := client.GetOffset(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return 0, true, err
	}
	if i := s.m.subscriptionOf(topic); !fresh && i >= 0 && s.m.subs[i].StartFrom == racecar.End {
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
		c := got[key].Offset
		if c > newest || c < 0 && int(partition) < s.fromEnd[topic] {
			offset = newest
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oldest == nil {
		s.oldest = map[tp]int64{}
	}
	s.oldest[tp{topic, partition}] = offset
	return offset, true, nil
}

// of returns where a partition begins that sarama began at the "oldest" offset.
func (s *starts) of(k tp) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest[k]
}
