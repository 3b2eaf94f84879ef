package kafka

import (
	"errors"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// CommitAnswer says what a broker's refusal of a group's offset means for the member
// that committed it, whether in a transaction or not.
type CommitAnswer int

const (
	// CommitPasses: the coordinator moved, is loading or is in trouble. Commit again.
	CommitPasses CommitAnswer = iota + 1
	// CommitStaleMember: the group has another generation than the one that was given,
	// or has the member no more. During a rebalance that passes; after the end of the
	// session another member may own the partition.
	CommitStaleMember
	// CommitUnknownTopic: the coordinator does not know the topic. That is final for the
	// partition if the topic was deleted, and passes if the coordinator has not heard of
	// it yet: other brokers' metadata tells.
	CommitUnknownTopic
	// CommitPartitionRefused: no repetition makes the broker take this partition's
	// offset; others' are taken.
	CommitPartitionRefused
	// CommitMemberRefused: no repetition makes the broker take any offset of the group
	// from this member.
	CommitMemberRefused
)

func (a CommitAnswer) String() string {
	switch a {
	case CommitPasses:
		return "passes"
	case CommitStaleMember:
		return "stale member"
	case CommitUnknownTopic:
		return "unknown topic"
	case CommitPartitionRefused:
		return "final for the partition"
	case CommitMemberRefused:
		return "final for the member"
	}
	return "no answer to a commit"
}

// Codes that sarama has no names for.
const (
	errUnknownTopicID     = sarama.KError(100)
	errInconsistentTopic  = sarama.KError(103)
	errFencedMemberEpoch  = sarama.KError(110)
	errUnreleasedInstance = sarama.KError(111)
	errStaleMemberEpoch   = sarama.KError(113)
)

// ClassifyCommit classifies a refusal of OffsetCommit or TxnOffsetCommit. What the
// transactional id is refused for (fenced, wrong epoch) is not the offset's: see TxnKind.
//
// A code that is not named here passes. That costs time where it does not, but never a
// position.
func ClassifyCommit(err error) CommitAnswer {
	code, ok := errors.AsType[sarama.KError](err)
	if !ok {
		if _, _, permanent := access.Permanent(err); permanent {
			return CommitMemberRefused
		}
		return CommitPasses
	}
	switch code {
	case sarama.ErrIllegalGeneration, sarama.ErrUnknownMemberId, sarama.ErrRebalanceInProgress, sarama.ErrFencedInstancedId,
		sarama.ErrGroupIDNotFound, errFencedMemberEpoch, errUnreleasedInstance, errStaleMemberEpoch:
		return CommitStaleMember
	case sarama.ErrUnknownTopicOrPartition, errUnknownTopicID, errInconsistentTopic:
		return CommitUnknownTopic
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrInvalidTopic, sarama.ErrOffsetMetadataTooLarge, sarama.ErrInvalidCommitOffsetSize:
		return CommitPartitionRefused
	case sarama.ErrGroupAuthorizationFailed, sarama.ErrInvalidGroupId, sarama.ErrClusterAuthorizationFailed, sarama.ErrUnsupportedVersion,
		sarama.ErrTransactionalIDAuthorizationFailed, sarama.ErrUnsupportedForMessageFormat:
		return CommitMemberRefused
	}
	return CommitPasses
}

// OffsetsRefusedError says for which partitions the group's coordinator refused the
// offsets of a transaction so that repeating it as it is would not help: the answers are
// CommitPartitionRefused or CommitUnknownTopic. Abort the transaction, and do it again
// without those partitions.
type OffsetsRefusedError struct {
	Partitions map[TopicPartition]error
}

func (e *OffsetsRefusedError) Error() string {
	for p, err := range e.Partitions {
		if n := len(e.Partitions) - 1; n > 0 {
			return p.String() + " and others: " + err.Error()
		}
		return p.String() + ": " + err.Error()
	}
	return "no offsets refused"
}

// RefusedOffsets finds the partitions whose offsets in a transaction are refused; none
// when another answer decides about the whole request.
func RefusedOffsets(answers map[string][]*sarama.PartitionError) map[TopicPartition]error {
	refused := map[TopicPartition]error{}
	for topic, partitions := range answers {
		for _, a := range partitions {
			if a.Err == sarama.ErrNoError || a.Err == sarama.ErrOperationNotAttempted {
				continue
			}
			switch ClassifyCommit(a.Err) {
			case CommitPartitionRefused, CommitUnknownTopic:
				refused[TopicPartition{topic, a.Partition}] = a.Err
			default:
				return nil
			}
		}
	}
	return refused
}
