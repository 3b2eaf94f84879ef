package racecar

import (
	"context"
	"time"
)

// Producer sends messages on behalf of one consumer instance.
//
// That of a transactional consumer (Spec.Transactional) holds back what a call
// produces until the call has returned: with nil it becomes visible together with
// the offset after the call's messages, with an error it is dropped. That of any other
// consumer sends at once: what a failed call has produced is produced again with the next.
//
// Several goroutines of one call may use it at the same time. They must have ended when
// the call returns.
type Producer interface {
	// Produce queues m and returns; it blocks, bounded by ctx, only while there
	// is no room. The message belongs to the call in which it was produced,
	// whatever ctx is passed: that call's offset is not committed before the
	// message is acknowledged, and a delivery that finally fails processes the
	// message in hand again. Its error says why nothing was queued (invalid
	// message, ctx ended, closed).
	Produce(ctx context.Context, m ProducerMessage) error
	// Deliver waits until everything this instance queued is acknowledged. It
	// returns the errors of what the running call produced and finally was not
	// delivered; between calls those of what was produced there (upstream: deliver!). The worker
	// does this by itself where it must; call it for stop-and-wait. In a call of a
	// transactional consumer it returns at once: what a call produces is not sent
	// before it has returned.
	Deliver(ctx context.Context) error
}

// ProducerMessage is a message to be produced. Producing copies it: its slices may be
// reused as soon as the call has returned.
type ProducerMessage struct {
	Topic string
	Key   []byte // nil: none
	Value []byte // nil: null, a tombstone
	// Partition sends to that partition; nil lets the partitioner choose.
	Partition *int32
	// PartitionKey is hashed in place of Key when set.
	PartitionKey []byte
	Headers      []Header
	Timestamp    time.Time // zero: now
}
