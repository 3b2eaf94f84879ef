package racecar

import "context"

// Processor handles messages one by one. A consumer is exactly one of
// Processor and BatchProcessor.
//
// Returning nil lets the worker go on; the message's offset is committed once
// everything the call produced is acknowledged. An error or a panic retries the
// message after pause_timeout, unless it is one of Skip, DeadLetter, RetryAfter
// or Fatal. ctx outlives a rebalance or a stop so that the call can finish (see
// Leaving); it is cancelled when the partition is lost or time is up.
type Processor interface {
	Process(ctx context.Context, m *Message) error
}

// BatchProcessor handles up to fetch_messages messages of one partition at a
// time. An error retries the whole batch; see FailedAt for a part of it.
type BatchProcessor interface {
	ProcessBatch(ctx context.Context, messages []*Message) error
}

// ProcessFunc makes a function a Processor. Spec.Name must be set.
type ProcessFunc func(ctx context.Context, m *Message) error

// Process calls f.
func (f ProcessFunc) Process(ctx context.Context, m *Message) error { return f(ctx, m) }

// ProcessBatchFunc makes a function a BatchProcessor. Spec.Name must be set.
type ProcessBatchFunc func(ctx context.Context, messages []*Message) error

// ProcessBatch calls f.
func (f ProcessBatchFunc) ProcessBatch(ctx context.Context, messages []*Message) error {
	return f(ctx, messages)
}

// TeardownHook is implemented by consumers that hold resources. Teardown runs once
// per instance, after its last call and after what it produced was delivered:
// when the worker stops, and with Concurrency when the instance's partition
// goes. Its error is logged and reported; it stops nothing.
type TeardownHook interface {
	Teardown(ctx context.Context) error
}

// AssignmentHook is told which partitions the worker was given, before their
// first message. No call of the instance runs beside it.
type AssignmentHook interface {
	OnPartitionsAssigned(ctx context.Context, a Assignment)
}

// RevocationHook is told which partitions the worker gives up, after the call
// in hand has finished and, unless the partitions are lost, after the commit.
type RevocationHook interface {
	OnPartitionsRevoked(ctx context.Context, a Assignment)
}

// StatisticsHook receives figures every statistics_interval.
type StatisticsHook interface {
	OnStatistics(ctx context.Context, s Statistics)
}

// Assignment is a set of partitions by topic.
type Assignment struct {
	Partitions map[string][]int32
	// Lost is true when the partitions may already belong to another member:
	// nothing can be committed for them any more. Always false on assignment.
	Lost bool
}

// Empty reports whether no partition is in it.
func (a Assignment) Empty() bool {
	for _, p := range a.Partitions {
		if len(p) > 0 {
			return false
		}
	}
	return true
}
