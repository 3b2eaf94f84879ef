package kafka

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

// This file commits and reads the offsets of a group.

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func (p TopicPartition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// NoOffset is the Offset of a partition without a committed offset.
const NoOffset = -1

// MaxMetadata is the brokers' default limit for the metadata of an offset
// (offset.metadata.max.bytes).
const MaxMetadata = 4096

// Commit is a position of a group in a partition.
type Commit struct {
	Offset   int64 // of the next message to be processed
	Metadata string
	Epoch    LeaderEpoch // of the leader that wrote the message before
}

// LeaderEpoch is a leader epoch (KIP-320) plus one, so that the zero value means none.
type LeaderEpoch int32

// KnownLeaderEpoch converts a leader epoch of a broker; -1: unknown.
func KnownLeaderEpoch(leader int32) LeaderEpoch { return LeaderEpoch(max(leader, -1) + 1) }

// Leader returns the leader epoch as brokers send it; -1: unknown.
func (e LeaderEpoch) Leader() int32 { return int32(e) - 1 }

// Member identifies the committer: a member of the group in one generation, or NoMember.
type Member struct {
	Generation int32
	MemberID   string
	InstanceID string // empty: dynamic
}

// NoMember commits without being a member, which brokers allow while the group has no
// members.
var NoMember = Member{Generation: sarama.GroupGenerationUndefined}

// OffsetClient commits and reads a group's offsets on its own connection, so that a commit
// does not wait behind a fetch or a join, and reports the result to the caller. It is
// safe for concurrent use; requests are sent one at a time.
type OffsetClient struct {
	coord *coordinatorClient
}

// NewOffsets does not connect yet. Close the Offsets before the client.
func NewOffsets(client *Client, group string) *OffsetClient {
	return &OffsetClient{coord: newCoordinator(client, group, coordinatorHooks{})}
}

// Close closes the connection; a running request fails.
func (o *OffsetClient) Close() { o.coord.close() }

// Commit commits positions in one request. failed holds the partitions that the
// broker refused with the error (a sarama.KError); it is nil if it accepted all.
// err concerns the whole request: possibly nothing was committed then.
//
// Commit follows a coordinator that moved, for about 3 s. It returns at once if the
// member is not in the group's generation (sarama.ErrIllegalGeneration,
// ErrUnknownMemberId, ErrRebalanceInProgress, ErrFencedInstancedId).
func (o *OffsetClient) Commit(ctx context.Context, m Member, commits map[TopicPartition]Commit) (failed map[TopicPartition]error, err error) {
	left := commits
	err = o.coord.do(ctx, func(b *sarama.Broker) error {
		resp, err := b.CommitOffset(o.commitRequest(m, left))
		if err != nil {
			return err
		}
		again := make(map[TopicPartition]Commit)
		var moved error
		failed = nil
		for p := range left {
			kerr, ok := resp.Errors[p.Topic][p.Partition]
			switch {
			case !ok:
				kerr = sarama.ErrUnknown // an answer that leaves out what was asked says nothing of it
			case kerr == sarama.ErrNoError:
				continue
			case coordinatorMoved(kerr):
				again[p], moved = left[p], kerr
			}
			if failed == nil {
				failed = make(map[TopicPartition]error)
			}
			failed[p] = kerr
		}
		if moved != nil && len(again) == len(left) { // the whole request, as brokers do
			return moved
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit offsets of group %q: %w", o.coord.group, err)
	}
	return failed, nil
}

func (o *OffsetClient) commitRequest(m Member, commits map[TopicPartition]Commit) *sarama.OffsetCommitRequest {
	req := sarama.NewOffsetCommitRequest(o.coord.conf, o.coord.group)
	req.ConsumerGroupGeneration = m.Generation
	req.ConsumerID = m.MemberID
	if m.InstanceID != "" {
		req.GroupInstanceId = &m.InstanceID
	}
	for p, c := range commits {
		req.AddBlockWithLeaderEpoch(p.Topic, p.Partition, c.Offset, c.Epoch.Leader(), 0, c.Metadata)
	}
	return req
}

// Fetch reads committed offsets. The result holds every requested partition, with
// NoOffset where there is none. It fails with sarama.ErrUnstableOffsetCommit while a
// transaction with one of these offsets is open (KIP-447): retry.
func (o *OffsetClient) Fetch(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]Commit, error) {
	asked := make(map[string][]int32)
	for _, p := range partitions {
		asked[p.Topic] = append(asked[p.Topic], p.Partition)
	}
	found := make(map[TopicPartition]Commit, len(partitions))
	err := o.coord.do(ctx, func(b *sarama.Broker) error {
		resp, err := o.fetch(b, asked)
		if err != nil {
			return err
		}
		switch kerr := resp.GroupError(); kerr {
		case sarama.ErrNoError:
		case sarama.ErrGroupIDNotFound: // nothing was ever committed
			for _, p := range partitions {
				found[p] = Commit{Offset: NoOffset}
			}
			return nil
		default:
			return kerr
		}
		for _, p := range partitions {
			block := resp.GetBlock(p.Topic, p.Partition)
			if block == nil {
				return fmt.Errorf("%s: %w", p, sarama.ErrIncompleteResponse)
			}
			if block.Err != sarama.ErrNoError {
				return fmt.Errorf("%s: %w", p, block.Err)
			}
			found[p] = Commit{Offset: block.Offset, Metadata: block.Metadata, Epoch: KnownLeaderEpoch(block.LeaderEpoch)}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read committed offsets of group %q: %w", o.coord.group, err)
	}
	return found, nil
}

// FetchAll reads all committed offsets of the group; none for a group that does not exist.
// Unlike Fetch it ignores open transactions.
func (o *OffsetClient) FetchAll(ctx context.Context) (map[TopicPartition]Commit, error) {
	found := map[TopicPartition]Commit{}
	err := o.coord.do(ctx, func(b *sarama.Broker) error {
		resp, err := b.FetchOffset(sarama.NewOffsetFetchRequest(o.coord.conf.Version, o.coord.group, nil))
		if err != nil {
			return err
		}
		if kerr := resp.GroupError(); kerr == sarama.ErrGroupIDNotFound {
			return nil
		} else if kerr != sarama.ErrNoError {
			return kerr
		}
		for topic, partitions := range resp.Blocks {
			for n, block := range partitions {
				p := TopicPartition{Topic: topic, Partition: n}
				if block.Err != sarama.ErrNoError {
					return fmt.Errorf("%s: %w", p, block.Err)
				}
				if block.Offset >= 0 {
					found[p] = Commit{Offset: block.Offset, Metadata: block.Metadata}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read committed offsets of group %q: %w", o.coord.group, err)
	}
	return found, nil
}

func (o *OffsetClient) fetch(b *sarama.Broker, asked map[string][]int32) (*sarama.OffsetFetchResponse, error) {
	req := sarama.NewOffsetFetchRequest(o.coord.conf.Version, o.coord.group, asked)
	req.RequireStable = true
	resp, err := b.FetchOffset(req)
	if IsEncodingError(err) && req.Version < 7 { // Kafka 2.4 does not know the flag; nothing was sent
		req = sarama.NewOffsetFetchRequest(o.coord.conf.Version, o.coord.group, asked)
		resp, err = b.FetchOffset(req)
	}
	return resp, err
}
