package producer

import (
	"math"
	"slices"
	"time"
)

// This file holds the queue of a partition: the batches that wait, the batch in flight, and
// their retries.

// producerID identifies a producer to brokers. Each partition counts its own epoch:
// brokers keep producer state per partition.
type producerID struct {
	id    int64
	epoch int16
	valid bool
}

// partitionQueue is the queue of one partition. At most one of its batches is in flight, so
// a queue is enough to keep the order. Producer.mu guards it; it knows nothing of brokers,
// clocks or goroutines.
type partitionQueue struct {
	topic  string
	id     int32
	limits *limits

	queue []*batch // in the order of Send, so in the order of deadlines; messages are added to the last
	bytes int      // of queue
	count int      // messages of queue
	usual int      // how many messages the last batch had
	batch *batch   // sent, or waits for its retry; nil: none
	// inFlight is set from the start of a request until the last Done of its
	// batch has returned.
	inFlight   bool
	active     bool // listed in Producer.active
	skipLinger bool // do not linger

	producer producerID // not valid: the next batch takes the Producer's
	sequence int32      // of the next batch
	limit    int        // records in the next batch; 0: any number (see split)

	leader *brokerLink // nil: not known
	// In a transaction: the coordinator has added the partition; the request is pending.
	registered, wanted bool

	attempts int       // failed in a row
	retryAt  time.Time // not before; zero: at once
	lastErr  error     // of the last attempt
}

func (q *partitionQueue) empty() bool { return q.batch == nil && len(q.queue) == 0 }

// open returns the batch for the next record, of at most so many bytes.
func (q *partitionQueue) open(record int) *batch {
	if n := len(q.queue); n > 0 && !q.limits.full(q.queue[n-1], record) {
		return q.queue[n-1]
	}
	q.queue = append(q.queue, &batch{entries: make([]entry, 0, q.usual)})
	return q.queue[len(q.queue)-1]
}

// push appends m to the queue; size is the maximum size of its record.
func (q *partitionQueue) push(e entry, timestamp int64, m *Message, size int) {
	b := q.open(size)
	before := len(b.buf)
	b.add(q.limits.pool, e, timestamp, m)
	q.grew(b, before)
}

// pushRecord is push for an encoded message.
func (q *partitionQueue) pushRecord(r record) {
	b := q.open(len(r.body) + recordOverhead)
	before := len(b.buf)
	b.addRecord(q.limits.pool, r)
	q.grew(b, before)
}

func (q *partitionQueue) grew(b *batch, before int) {
	q.bytes += len(b.buf) - max(before, headerSize)
	q.count++
}

// merge inserts another partition's messages in the order of their deadlines.
func (q *partitionQueue) merge(records []record) {
	for _, b := range q.takeQueue() {
		records = append(records, b.records()...)
	}
	sortByDeadline(records)
	q.requeue(q.limits.batches(records))
}

// takeQueue empties the queue.
func (q *partitionQueue) takeQueue() []*batch {
	queue := q.queue
	q.queue, q.bytes, q.count = nil, 0, 0
	return queue
}

// requeue inserts batches at the front of the queue.
func (q *partitionQueue) requeue(batches []*batch) {
	for _, b := range batches {
		q.bytes += b.bytes()
		q.count += len(b.entries)
	}
	q.queue = append(batches, q.queue...)
}

// takeAnywhere removes and returns the messages that may go to any partition.
func (q *partitionQueue) takeAnywhere() (taken []record) {
	if q.batch != nil && !q.inFlight && !q.batch.maybeStored {
		q.requeueBatch()
	}
	if !slices.ContainsFunc(q.queue, func(b *batch) bool { return slices.ContainsFunc(b.entries, isAnywhere) }) {
		return nil
	}
	var left []record
	for _, b := range q.takeQueue() {
		for _, r := range b.records() {
			if r.anywhere {
				taken = append(taken, r)
			} else {
				left = append(left, r)
			}
		}
	}
	q.requeue(q.limits.batches(left))
	return taken
}

func isAnywhere(e entry) bool { return e.anywhere }

// first is the first batch, nil if there is none.
func (q *partitionQueue) first() *batch {
	switch {
	case q.batch != nil:
		return q.batch
	case len(q.queue) > 0:
		return q.queue[0]
	}
	return nil
}

// deadline is the oldest message's; the partition is not empty.
func (q *partitionQueue) deadline() time.Duration { return q.first().entries[0].deadline }

// take returns the batch to send: the same one after a failure, else the next one.
func (q *partitionQueue) take() *batch {
	if q.batch != nil {
		return q.batch
	}
	if n := q.limit; n > 0 && len(q.queue[0].entries) > n {
		q.cut(n)
	}
	q.batch = q.unqueue()
	q.usual = len(q.batch.entries)
	if len(q.queue) == 0 {
		q.skipLinger = false
	}
	return q.batch
}

// unqueue removes and returns the first batch of the queue.
func (q *partitionQueue) unqueue() *batch {
	b := q.queue[0]
	q.queue = slices.Delete(q.queue, 0, 1)
	q.bytes -= b.bytes()
	q.count -= len(b.entries)
	return b
}

// cut splits the first batch of the queue after n messages.
func (q *partitionQueue) cut(n int) {
	b := q.unqueue()
	records := b.records()
	q.requeue(append(q.limits.batches(records[:n]), q.limits.batches(records[n:])...))
	b.release(q.limits.pool)
}

// done removes the batch, which was stored, and returns its messages.
func (q *partitionQueue) done() []entry {
	b := q.batch
	q.sequence = addSequence(q.sequence, len(b.entries))
	q.batch = nil
	q.resetFailures()
	if q.limit > 0 {
		if q.limit *= 2; q.limit > 1<<16 {
			q.limit = 0
		}
	}
	b.release(q.limits.pool)
	return b.entries
}

// resetFailures resets the failure count: the next batch has not failed yet.
func (q *partitionQueue) resetFailures() { q.attempts, q.lastErr, q.retryAt = 0, nil, time.Time{} }

// addSequence adds n to s as brokers do: after the largest int32 comes 0.
func addSequence(s int32, n int) int32 {
	return int32((int64(s) + int64(n)) % (math.MaxInt32 + 1))
}

// giveUp removes the batch as not delivered. The next batch reuses its sequence number if
// it was certainly not stored.
func (q *partitionQueue) giveUp(kind DeliveryErrorKind, why error) result {
	b := q.batch
	q.batch = nil
	q.resetFailures()
	if b.maybeStored {
		q.bumpEpoch()
	}
	b.release(q.limits.pool)
	return result{entries: b.entries, part: q.id, offset: -1, err: &DeliveryError{
		Kind: kind, Topic: q.topic, Partition: q.id, MaybeDelivered: b.maybeStored, Err: why}}
}

// split requeues a refused batch in batches of half the size, so that in the end only the
// bad record is refused. Each stored batch doubles the size again.
func (q *partitionQueue) split() {
	q.limit = max(1, len(q.batch.entries)/2)
	q.requeueBatch()
}

// requeueBatch moves the batch back to the front of the queue. If it may be stored, its
// sequence number is used up and a new epoch starts.
func (q *partitionQueue) requeueBatch() {
	b := q.batch
	q.batch = nil
	if b.maybeStored {
		q.bumpEpoch()
	}
	b.numbered, b.maybeStored = false, false
	q.requeue([]*batch{b})
}

// bumpEpoch starts a new sequence (KIP-360). Brokers accept any higher epoch that starts
// at 0.
func (q *partitionQueue) bumpEpoch() {
	q.renumber()
	if q.producer.epoch == math.MaxInt16 {
		q.producer.valid = false
		return
	}
	q.producer.epoch++
}

// renumber makes the next batch start a new sequence, even if it is a retry.
func (q *partitionQueue) renumber() {
	q.sequence = 0
	if q.batch != nil {
		q.batch.numbered = false
	}
}

// expire removes and returns the timed-out messages, including those of a batch that waits
// for a retry.
func (q *partitionQueue) expire(now time.Duration) (expired []entry, maybeStored int) {
	if q.inFlight || q.empty() || now < q.deadline() {
		return nil, 0
	}
	inBatch, tried := 0, 0
	if q.batch != nil {
		tried = len(q.batch.entries)
		if q.batch.maybeStored {
			inBatch = tried
		}
		q.requeueBatch()
	}
	for len(q.queue) > 0 {
		n := 0
		for _, e := range q.queue[0].entries {
			if now < e.deadline {
				break
			}
			n++
		}
		if n == 0 {
			break
		}
		if n < len(q.queue[0].entries) {
			q.cut(n)
		}
		b := q.unqueue()
		expired = append(expired, b.entries...)
		b.release(q.limits.pool)
	}
	if len(expired) >= tried {
		q.resetFailures()
	}
	return expired, min(inBatch, len(expired))
}

// takeAll empties the queue; its first maybeStored messages may be in the log.
func (q *partitionQueue) takeAll() (entries []entry, maybeStored int) {
	if q.batch != nil {
		if q.batch.maybeStored {
			maybeStored = len(q.batch.entries)
		}
		q.requeueBatch()
	}
	for _, b := range q.takeQueue() {
		entries = append(entries, b.entries...)
		b.release(q.limits.pool)
	}
	q.resetFailures()
	return entries, maybeStored
}

// result is the result of messages of one partition.
type result struct {
	entries []entry
	part    int32
	offset  int64 // of the first; -1: not known
	err     error
}
