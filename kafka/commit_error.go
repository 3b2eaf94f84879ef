package kafka

import (
	"errors"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// CommitErrorKind is the meaning of a broker's error for a committed offset to the member, with or
// without a transaction.
type CommitErrorKind int

const (
	// CommitRetriable: the coordinator moved, is loading or has a temporary problem. Commit again.
	CommitRetriable CommitErrorKind = iota + 1
	// CommitStaleMember: the group has another generation, or no longer has the member.
	// During a rebalance that is temporary; after the end of the session another member
	// may own the partition.
	CommitStaleMember
	// CommitUnknownTopic: the coordinator does not know the topic. That is final for the
	// partition if the topic was deleted, and temporary if the coordinator does not know
	// it yet: other brokers' metadata shows which.
	CommitUnknownTopic
	// CommitPartitionRefused: the broker will never accept this partition's offset; it
	// accepts others.
	CommitPartitionRefused
	// CommitMemberRefused: the broker will never accept any offset of the group from this
	// member.
	CommitMemberRefused
)

func (a CommitErrorKind) String() string {
	switch a {
	case CommitRetriable:
		return "retriable"
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

// ClassifyCommit classifies an error of OffsetCommit or TxnOffsetCommit. Errors of the
// transactional id (fenced, wrong epoch) do not concern the offset: see producer.TxnErrorKind.
//
// Other codes are retriable: a wrong retry costs time, but never a position.
func ClassifyCommit(err error) CommitErrorKind {
	code, ok := errors.AsType[sarama.KError](err)
	if !ok {
		if _, _, permanent := access.Permanent(err); permanent {
			return CommitMemberRefused
		}
		return CommitRetriable
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
	return CommitRetriable
}

// OffsetsRefusedError holds the partitions whose offsets the group's coordinator refused
// in a transaction, with CommitPartitionRefused or CommitUnknownTopic, so that retrying
// does not help. Abort the transaction and repeat it without those partitions.
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

// RefusedOffsets returns the partitions whose offsets in a transaction were refused; none
// if another error decides about the whole request.
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
