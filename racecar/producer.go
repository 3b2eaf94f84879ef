package racecar

import (
	"context"
	"time"
)

// Producer sends messages on behalf of one consumer instance, which gets it in Runtime.
//
// The producer of a transactional consumer (Spec.Transactional) holds back the output of a
// call until the call has returned: after nil the output becomes visible together with the
// offset behind the call's messages, after an error it is dropped. The producer of any other
// consumer sends at once, so a call that fails and is repeated produces its output again.
//
// Several goroutines of one call may use it at the same time. They must have ended when the
// call returns.
type Producer interface {
	// Produce queues m and returns (upstream: produce). It blocks only while there is no
	// room for m, until ctx ends. The message belongs to the call in which Produce is
	// called, whatever ctx it gets: the worker commits that call's offset only once the
	// message is acknowledged, and processes the call's messages again if the message
	// cannot be delivered within message_timeout. The error says why nothing was queued:
	// the message is invalid, ctx ended, or the producer is closed.
	Produce(ctx context.Context, m ProducerMessage) error
	// Deliver waits until everything that this instance queued is acknowledged, or until
	// ctx ends (upstream: deliver!). It returns the errors of messages that the running call
	// produced and that could not be delivered; between calls those of messages produced
	// there. The worker waits by itself where it must: call Deliver to have one message
	// acknowledged before the next step. In a call of a transactional consumer it returns
	// nil at once, since nothing is sent before the call has returned.
	Deliver(ctx context.Context) error
}

// ProducerMessage is a message to be produced. Producing copies it, so its slices may be
// reused as soon as the method has returned.
type ProducerMessage struct {
	Topic string // required
	Key   []byte // nil: none
	Value []byte // nil: a tombstone
	// Partition is the number of the partition to send to; nil lets the configured
	// partitioner choose by PartitionKey or Key.
	Partition *int32
	// PartitionKey is hashed in place of Key; nil: Key is (upstream: partition_key).
	PartitionKey []byte
	Headers      []Header
	Timestamp    time.Time // to the millisecond; zero: now
}
