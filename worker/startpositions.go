package worker

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// startPositions decides where a partition begins that has no commit.
//
// StartFrom End is about what was there when the group was new to the subscription. What
// appears later (a topic, a partition) was written for somebody to read, and begins at its
// beginning: whoever discovers it late would otherwise leave out what came before.
type startPositions struct {
	m       *membership
	decided bool           // decide has finished; of the membership's goroutine
	fromEnd map[string]int // topics whose partitions below that number begin at their end; not written once decided
}

// decide finds out, once and before the first join, which partitions begin at their end:
// those that are there, if the group has no offset for any topic of their subscription.
// All members of a group's first generation ask before any of them can commit, so they
// agree; a member that joins later finds commits.
func (s *startPositions) decide(ctx context.Context) error {
	if s.decided {
		return nil
	}
	fromEnd := map[string]int{}
	if slices.ContainsFunc(s.m.subs, func(sub racecar.Subscription) bool { return sub.StartFrom == racecar.End }) {
		found, _, err := s.m.queryTopics(ctx)
		if err != nil {
			return err
		}
		topics := make([]map[string]int, len(s.m.subs)) // by subscription
		for t, n := range found {
			if i := s.m.subscriptionOf(t); i >= 0 && s.m.subs[i].StartFrom == racecar.End {
				if topics[i] == nil {
					topics[i] = map[string]int{}
				}
				topics[i][t] = n
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
func (s *startPositions) groupKnows(ctx context.Context, topics map[string]int) (bool, error) {
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

// from says where a partition begins for which the group has no offset: one that did not
// exist when decide asked begins at its beginning.
func (s *startPositions) from(k topicPartition) fetch.StartFrom {
	s.m.mu.Lock()
	_, claimed := s.m.outlived[k]
	s.m.mu.Unlock()
	if !claimed && int(k.partition) < s.fromEnd[k.topic] {
		return fetch.End
	}
	return fetch.Beginning
}
