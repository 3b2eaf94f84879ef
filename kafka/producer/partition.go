package producer

import (
	"math"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// outMessage is a message between Send and its Done.
type outMessage struct {
	Message
	done     Done
	size     int  // bytes as a record, at most
	anywhere bool // its partition was chosen at random
	deadline time.Time
}

// producerID is what the broker knows a producer by. The epoch is counted on
// for each partition on its own: brokers keep producer state per partition.
type producerID struct {
	id    int64
	epoch int16
	valid bool
}

// outPartition is the queue of one partition. At most one batch of it is on its
// way, so that order needs no more than a queue. It is guarded by
// Producer.mu and knows nothing of brokers, clocks or goroutines.
type outPartition struct {
	topic string
	id    int32

	queue []*outMessage // in the order of Send, so in the order of deadlines
	bytes int           // of queue, as records
	batch *outBatch     // numbered, sent or to be sent again; nil: none
	// inFlight is set from the start of a request until the last Done of its
	// batch has returned.
	inFlight bool
	active   bool // listed in Producer.active
	hurry    bool // what is queued is not to wait for more
	alone    bool // its batch gets a request of its own: one with others could not be encoded

	producer producerID // not valid: to be taken from the Producer at the next batch
	sequence int32      // of the next batch
	limit    int        // records in the next batch; 0: any number (see split)

	leader *brokerLink // nil: not known
	// In a transaction: the coordinator has the partition in it; it is asked to.
	registered, wanted bool

	attempts int       // failed in a row
	retryAt  time.Time // not before; zero: at once
	lastErr  error     // of the last attempt
}

// outBatch is a run of messages under one sequence number. It is sent again as
// it is, so that the broker can tell a repetition.
type outBatch struct {
	msgs        []*outMessage
	bytes       int
	records     *sarama.RecordBatch
	maybeStored bool // a request with it ended without a clear answer
}

func (q *outPartition) empty() bool { return q.batch == nil && len(q.queue) == 0 }

// push puts o behind all that were sent before it; one that comes from another partition
// may belong in the middle.
func (q *outPartition) push(o *outMessage) {
	i := len(q.queue)
	for i > 0 && o.deadline.Before(q.queue[i-1].deadline) {
		i--
	}
	q.queue = slices.Insert(q.queue, i, o)
	q.bytes += o.size
}

// takeAnywhere takes out the messages that any other partition may have.
func (q *outPartition) takeAnywhere() (taken []*outMessage) {
	if q.batch != nil && !q.inFlight && !q.batch.maybeStored {
		q.dissolve()
	}
	q.queue = slices.DeleteFunc(q.queue, func(o *outMessage) bool {
		if o.anywhere {
			taken = append(taken, o)
			q.bytes -= o.size
		}
		return o.anywhere
	})
	return taken
}

// head is the oldest message, nil when there is none.
func (q *outPartition) head() *outMessage {
	switch {
	case q.batch != nil:
		return q.batch.msgs[0]
	case len(q.queue) > 0:
		return q.queue[0]
	}
	return nil
}

// take returns the batch to be sent: the same again after a failure, else a new
// one of at most maxBytes (but at least one message) and maxMessages (0: any number).
func (q *outPartition) take(maxBytes, maxMessages int) *outBatch {
	if q.batch != nil {
		return q.batch
	}
	if q.limit > 0 && (maxMessages == 0 || q.limit < maxMessages) {
		maxMessages = q.limit
	}
	n, bytes := 0, 0
	for n < len(q.queue) && (maxMessages == 0 || n < maxMessages) {
		if n > 0 && bytes+q.queue[n].size > maxBytes {
			break
		}
		bytes += q.queue[n].size
		n++
	}
	b := &outBatch{msgs: slices.Clone(q.queue[:n]), bytes: bytes}
	clear(q.queue[:n]) // the array lives on
	q.queue, q.bytes = q.queue[n:], q.bytes-bytes
	if len(q.queue) == 0 {
		q.hurry = false
	}
	q.batch = b
	return b
}

// number gives the batch its place in the producer's sequence.
func (q *outPartition) number(b *sarama.RecordBatch) {
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = q.producer.id, q.producer.epoch, q.sequence
}

// done takes the batch as stored and returns its messages.
func (q *outPartition) done() []*outMessage {
	msgs := q.batch.msgs
	q.alone = false
	q.sequence = addSequence(q.sequence, len(msgs))
	q.batch = nil
	q.forgive()
	if q.limit > 0 {
		if q.limit *= 2; q.limit > 1<<16 {
			q.limit = 0
		}
	}
	return msgs
}

// forgive forgets failures: what comes next has not failed yet.
func (q *outPartition) forgive() { q.attempts, q.lastErr, q.retryAt = 0, nil, time.Time{} }

// addSequence counts on from s as brokers do: after the largest int32 comes 0.
func addSequence(s int32, n int) int32 {
	return int32((int64(s) + int64(n)) % (math.MaxInt32 + 1))
}

// giveUp takes the batch out as not delivered. When it was not stored for sure,
// the number it had is free again.
func (q *outPartition) giveUp(kind DeliveryKind, why error) ending {
	b := q.batch
	q.batch, q.alone = nil, false
	q.forgive()
	if b.maybeStored {
		q.bumpEpoch()
	}
	return ending{msgs: b.msgs, part: q.id, offset: -1, err: &DeliveryError{
		Kind: kind, Topic: q.topic, Partition: q.id, MaybeDelivered: b.maybeStored, Err: why}}
}

// split puts the messages of a refused batch back, to be sent in batches of half
// the size, so that one bad record is refused alone. The next batches that are
// taken double the size again.
func (q *outPartition) split() {
	q.limit = max(1, len(q.batch.msgs)/2)
	q.dissolve()
}

// dissolve puts the messages of the batch back to the front of the queue. When
// it may be stored its number is used up, and the epoch ends with it.
func (q *outPartition) dissolve() {
	b := q.batch
	q.batch = nil
	queue := make([]*outMessage, 0, len(b.msgs)+len(q.queue))
	q.queue = append(append(queue, b.msgs...), q.queue...)
	q.bytes += b.bytes
	if b.maybeStored {
		q.bumpEpoch()
	}
}

// bumpEpoch begins a new sequence (KIP-360). The brokers take any higher epoch
// that begins at 0.
func (q *outPartition) bumpEpoch() {
	q.sequence = 0
	if q.producer.epoch == math.MaxInt16 {
		q.producer.valid = false
		return
	}
	q.producer.epoch++
}

// expire takes out the messages whose time is up by now. Those of a batch that
// waits to be sent again are among them.
func (q *outPartition) expire(now time.Time) (expired []*outMessage, maybeStored int) {
	head := q.head()
	if q.inFlight || head == nil || now.Before(head.deadline) {
		return nil, 0
	}
	inBatch, tried := 0, 0
	if q.batch != nil {
		tried = len(q.batch.msgs)
		if q.batch.maybeStored {
			inBatch = tried
		}
		q.dissolve()
	}
	n := 0
	for n < len(q.queue) && !now.Before(q.queue[n].deadline) {
		q.bytes -= q.queue[n].size
		n++
	}
	expired, q.queue = q.queue[:n:n], q.queue[n:]
	if n >= tried {
		q.forgive()
	}
	return expired, min(inBatch, n)
}

// takeAll empties the queue; the first maybeStored of its messages may be in the log.
func (q *outPartition) takeAll() (msgs []*outMessage, maybeStored int) {
	if q.batch != nil {
		if q.batch.maybeStored {
			maybeStored = len(q.batch.msgs)
		}
		q.dissolve()
	}
	msgs, q.queue, q.bytes = q.queue, nil, 0
	q.forgive()
	return msgs, maybeStored
}
