package racecar

import "context"

// Processor handles messages one at a time. A consumer implements exactly one of
// Processor and BatchProcessor.
type Processor interface {
	// Process handles m. A worker calls it from one goroutine at a time per instance, for
	// the messages of a partition in offset order.
	//
	// After nil the worker goes on, and commits the message's offset once everything that
	// the call produced is acknowledged. After an error or a panic it calls Process again
	// with the message, after pause_timeout, unless the error is one of Skip, DeadLetter,
	// RetryAfter and Fatal; the partition's later messages wait, other partitions do not.
	// The message may come again even after nil, if the process dies before the commit, so
	// Process must be idempotent or the consumer Transactional.
	//
	// A rebalance or a stop does not cancel ctx, so that the call can finish (see Leaving).
	// The worker cancels it when the partition is lost, when the call takes longer than
	// max_poll_interval (5 minutes by default), and when shutdown_timeout ends during a stop.
	Process(ctx context.Context, m *Message) error
}

// BatchProcessor handles messages in batches. See Processor for how it is called, what its
// ctx is and what its error means.
type BatchProcessor interface {
	// ProcessBatch handles from 1 to fetch_messages (1000 by default) messages of one
	// partition, in offset order. An incomplete batch is handed over after max_wait_time
	// (1 second by default). An error concerns the whole batch; FailedAt limits it to one
	// message.
	ProcessBatch(ctx context.Context, messages []*Message) error
}

// ProcessFunc makes a function a Processor. Its type has no name of its own, so Spec.Name
// must be set.
type ProcessFunc func(ctx context.Context, m *Message) error

// Process calls f.
func (f ProcessFunc) Process(ctx context.Context, m *Message) error { return f(ctx, m) }

// ProcessBatchFunc makes a function a BatchProcessor. Its type has no name of its own, so
// Spec.Name must be set.
type ProcessBatchFunc func(ctx context.Context, messages []*Message) error

// ProcessBatch calls f.
func (f ProcessBatchFunc) ProcessBatch(ctx context.Context, messages []*Message) error {
	return f(ctx, messages)
}

// TeardownHook is for consumers that hold resources (upstream: teardown).
type TeardownHook interface {
	// Teardown runs once per instance, after its last call and after everything that the
	// instance produced is acknowledged: when the worker stops and, with Spec.Concurrency,
	// when the instance's partition is revoked. ctx ends with the time for the shutdown
	// (shutdown_timeout) or for the rebalance (max_poll_interval). The error is logged and
	// reported to Config.OnError; it stops nothing.
	Teardown(ctx context.Context) error
}

// AssignmentHook is for consumers that want to know their partitions (upstream:
// on_partitions_assigned). A panic of a hook is logged and reported to Config.OnError; a
// hook that takes longer than max_poll_interval ends its worker, which is restarted.
type AssignmentHook interface {
	// OnPartitionsAssigned receives the partitions that the worker was assigned in addition
	// to those it has, before their first message. With Spec.Concurrency each instance
	// receives its own partition. No call of the instance runs at the same time.
	OnPartitionsAssigned(ctx context.Context, a Assignment)
}

// RevocationHook is for consumers that keep something per partition (upstream:
// on_partitions_revoked). For panics and limits see AssignmentHook.
type RevocationHook interface {
	// OnPartitionsRevoked receives the partitions that the worker gives up, after the
	// running call has finished and, unless the partitions are lost, after their last
	// commit. With Spec.Concurrency each instance receives its own partition. No call of
	// the instance runs at the same time.
	OnPartitionsRevoked(ctx context.Context, a Assignment)
}

// StatisticsHook is for consumers that watch the worker they are in (upstream:
// statistics_callback). For panics and limits see AssignmentHook.
type StatisticsHook interface {
	// OnStatistics receives figures every statistics_interval (1 second by default;
	// 0 turns it off), between two calls of the instance.
	OnStatistics(ctx context.Context, s Statistics)
}

// Assignment is a set of partitions.
type Assignment struct {
	// Partitions has the numbers of the partitions by topic.
	Partitions map[string][]int32
	// Lost is true when the partitions may already belong to another member of the group,
	// so that nothing can be committed for them any more. It is always false in
	// OnPartitionsAssigned.
	Lost bool
}

// Empty reports whether the assignment has no partition.
func (a Assignment) Empty() bool {
	for _, p := range a.Partitions {
		if len(p) > 0 {
			return false
		}
	}
	return true
}
