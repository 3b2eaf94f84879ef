package fetch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// This file holds a fetched partition: its position, the batches that wait for the worker, and
// the state of its requests.

// ErrClosed is Start's error for a closed partition.
var ErrClosed = errors.New("the partition is closed")

// Reason says why a partition begins, or continues, at an offset.
type Reason string

const (
	AtCommit       Reason = "committed"
	AtBeginning    Reason = "beginning"       // nothing was committed
	AtEnd          Reason = "end"             // nothing was committed
	LogStartMoved  Reason = "log start moved" // retention deleted what comes before
	Truncated      Reason = "truncated"       // the log ended before the offset, or another leader's log differs
	AnotherTopic   Reason = "other topic"     // the topic was deleted and created again
	noBroker              = int32(-1)
	replicaExpires        = 5 * time.Minute // as metadata.max.age.ms of Java's client (KIP-392)
)

// Start is the position at which a partition begins.
type Start struct {
	Position
	Reason    Reason
	Committed int64 // the offset that Add got
	// EpochEnd is the offset up to which the leader's log has the committed leader epoch or
	// an older one: what comes behind it was written later. -1: unknown.
	EpochEnd int64
}

// Moved says that the position of a running partition jumped.
type Moved struct {
	From, To int64
	TopicID  [16]byte // of the log that To belongs to; zero: unknown
	Reason   Reason
}

// Item is a batch, or a jump of the position, or nothing.
type Item struct {
	Batch *Batch
	Moved *Moved
}

// ask is the question that has to be answered before a partition can be fetched.
type ask uint8

const (
	askNothing  ask = iota
	askEpoch        // whether the log still has the record before next (OffsetForLeaderEpoch, KIP-320)
	askEarliest     // ListOffsets
	askLatest
)

// Partition is a partition that the Fetcher fetches. Its methods may be called concurrently.
type Partition struct {
	f         *Fetcher
	topic     string
	number    int32
	from      StartFrom
	maxBytes  int64 // max_bytes_per_partition
	committed int64
	changed   func()
	started   chan struct{} // closed once start is set or the partition is closed

	// Guarded by f.mu.

	closed bool
	start  *Start
	epoch  int // goes up when the position is set: answers to earlier requests are dropped

	next      int64    // offset to fetch next; NoOffset: not known
	lastEpoch int32    // leader epoch of the record before next; -1: unknown
	topicID   [16]byte // of the log that next belongs to
	ask       ask
	reason    Reason // of the position that ask is to find
	checked   bool   // the epoch was asked for since next was out of range
	epochEnd  int64  // see Start; -1: unknown

	leader, leaderEpoch int32
	replica             int32 // fetched from instead of the leader; noBroker: none
	replicaUntil        time.Time
	broker              *broker // that serves it; nil: none is known

	inFlight bool // in a request of a fetch loop
	hot      bool // there is more to be fetched at once, as far as is known
	retryAt  time.Time
	failures int
	err      error

	waiting  []Item
	bytes    int64 // of waiting
	messages int   // in waiting, at most
	taken    int64 // bytes taken and not released
	largest  int64 // batch seen lately
	above    int   // answers in a row whose first batch ends above the high watermark
	ahead    int64 // size of the batch at next; 0: unknown
	brought  int64 // bytes, by the last answer that held some
	held     bool  // see Hold
	hungry   bool  // Next was called and had nothing
	touched  time.Time

	logStart, stable, high int64 // -1: unknown
	marksAt                time.Time
}

func newPartition(f *Fetcher, name string, number int32, committed Position, from StartFrom, o PartitionOptions, changed func()) *Partition {
	p := &Partition{
		f: f, topic: name, number: number, from: from, changed: changed,
		maxBytes: int64(max(o.MaxBytes, 1)), committed: committed.Offset, started: make(chan struct{}),
		next: committed.Offset, lastEpoch: committed.LeaderEpoch, topicID: committed.TopicID, reason: AtCommit,
		leader: noBroker, replica: noBroker, leaderEpoch: -1, hot: true, touched: time.Now(),
		logStart: -1, stable: -1, high: -1, epochEnd: -1,
	}
	switch {
	case committed.Offset >= 0 && committed.LeaderEpoch >= 0:
		p.ask = askEpoch
	case committed.Offset >= 0:
	case from == End:
		p.ask, p.reason, p.next, p.lastEpoch = askLatest, AtEnd, NoOffset, -1
	default:
		p.ask, p.reason, p.next, p.lastEpoch = askEarliest, AtBeginning, NoOffset, -1
	}
	return p
}

// Start waits until it is known where the partition begins. A committed offset is known to
// be valid when the broker has answered a fetch from it.
func (p *Partition) Start(ctx context.Context) (Start, error) {
	select {
	case <-p.started:
	case <-ctx.Done():
		return Start{}, context.Cause(ctx)
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.start == nil {
		return Start{}, ErrClosed
	}
	return *p.start, nil
}

// Next takes the next item in the order of offsets; it returns the zero Item if nothing has
// arrived. A batch counts in the budget until Release.
func (p *Partition) Next() Item {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if len(p.waiting) == 0 {
		if !p.hungry && !p.closed {
			p.hungry = true
			p.wake()
		}
		return Item{}
	}
	item := p.waiting[0]
	p.waiting[0] = Item{}
	if p.waiting = p.waiting[1:]; len(p.waiting) == 0 {
		p.waiting = nil
	}
	p.touched = time.Now()
	if b := item.Batch; b != nil {
		full := !p.wanted()
		p.bytes -= b.Size()
		p.messages -= b.Count()
		p.taken += b.Size()
		if full {
			p.wake()
		}
	}
	return item
}

// Release returns the memory of a batch that Next returned to the budget.
func (p *Partition) Release(b *Batch) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if bytes := min(b.Size(), p.taken); bytes > 0 { // nothing is left after Close
		p.taken -= bytes
		p.f.release(bytes)
	}
}

// SeekTo drops everything that has arrived, and fetches from offset on. If the position has
// jumped because the log no longer has that offset, the partition goes to where it jumped.
func (p *Partition) SeekTo(offset int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.closed || p.ask == askEarliest && p.reason == AnotherTopic { // the topic of offset is gone
		return
	}
	ask, epoch := p.ask, p.lastEpoch
	p.moveTo(p.after(offset), -1)
	if p.ask = askNothing; ask == askEpoch { // the log may have been cut off before offset, too
		p.ask, p.lastEpoch = ask, epoch
	}
}

// Hold says whether the partition is paused. Others that are not get memory first.
func (p *Partition) Hold(held bool) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.held = held; held {
		p.hungry = false
	} else {
		p.wake()
	}
}

// Buffered returns how much Next can return.
func (p *Partition) Buffered() (messages int, bytes int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.messages, p.bytes
}

// Full reports whether the partition is not fetched until Next or Release is called.
func (p *Partition) Full() bool {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	lacksMemory := p.broker != nil && p.broker.hot.short > 0
	return lacksMemory || p.bytes >= p.f.share() || p.f.room() < p.f.least()
}

// Watermarks returns the log's start, its last stable offset and its high watermark in the
// broker's latest answer; -1: unknown.
func (p *Partition) Watermarks() (start, stable, high int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.logStart, p.stable, p.high
}

// Fetched returns the offset after everything that has arrived; caughtUp: the broker has no more.
func (p *Partition) Fetched() (next int64, caughtUp bool) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.next, p.start != nil && p.ask == askNothing && !p.hot
}

// Err returns the reason why nothing arrives now; nil: there is none.
func (p *Partition) Err() error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.err == nil && p.broker != nil {
		return p.broker.err
	}
	return p.err
}

// Close stops fetching: Next returns nothing any more, and answers on their way are dropped.
func (p *Partition) Close() {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.close()
}

// close is Close. f.mu is held.
func (p *Partition) close() {
	if p.closed {
		return
	}
	p.closed, p.hungry = true, false
	p.epoch++
	if p.start == nil {
		close(p.started)
	}
	p.waiting = nil
	bytes := p.bytes + p.taken
	p.bytes, p.messages, p.taken = 0, 0, 0
	p.detach()
	if t := p.f.topics[p.topic]; t != nil && t.partitions[p.number] == p {
		p.f.open--
		if delete(t.partitions, p.number); len(t.partitions) == 0 {
			delete(p.f.topics, p.topic)
		}
	}
	p.f.release(bytes)
}

// wake wakes the loops of the partition's broker if there is something to request. f.mu is
// held.
func (p *Partition) wake() {
	if p.broker == nil || p.inFlight || !p.wanted() {
		return
	}
	p.broker.hot.wake()
	if !p.hot && p.ask == askNothing {
		p.broker.poll.wake()
	}
}

// wanted reports whether the partition has less waiting than its share. f.mu is held.
func (p *Partition) wanted() bool { return p.bytes < p.f.share() }

// dropWaiting drops the waiting batches, to be fetched again. It keeps them if there is a jump
// among them: the log may no longer have the batches before it. f.mu is held.
func (p *Partition) dropWaiting() {
	if slices.ContainsFunc(p.waiting, func(i Item) bool { return i.Moved != nil }) {
		return
	}
	for _, item := range p.waiting {
		if item.Batch != nil {
			p.moveTo(item.Batch.FirstOffset(), -1)
			return
		}
	}
}

// after returns the offset to seek to instead of offset, given the jumps that wait for Next: a
// log that was truncated after offset still has it; any other jump says where the log
// continues. It removes the jumps that the seek makes void. f.mu is held.
func (p *Partition) after(offset int64) int64 {
	for i, item := range p.waiting {
		if m := item.Moved; m != nil && (m.Reason != Truncated || m.To < offset) {
			offset = m.To
		} else if m != nil {
			p.waiting[i] = Item{}
		}
	}
	return offset
}

// moveTo drops the waiting batches and goes to an offset. f.mu is held.
func (p *Partition) moveTo(offset int64, epoch int32) {
	bytes := p.bytes
	kept := p.waiting[:0]
	for _, item := range p.waiting { // jumps are reported in any case
		if item.Moved != nil {
			kept = append(kept, item)
		}
	}
	clear(p.waiting[len(kept):])
	p.waiting, p.bytes, p.messages = kept, 0, 0
	p.next, p.lastEpoch, p.ahead = offset, epoch, 0
	p.epoch++
	p.inFlight, p.hot, p.checked = false, true, false
	p.f.release(bytes)
	p.wake()
}

// settle decides where the partition begins or, once it has, jumps to. f.mu is held.
func (p *Partition) settle(offset int64, epoch int32, reason Reason) {
	t := p.f.topics[p.topic]
	if t != nil && t.id != [16]byte{} {
		p.topicID = t.id
	}
	p.ask, p.checked, p.hot = askNothing, false, true
	p.failures, p.err = 0, nil
	if p.start == nil {
		p.start = &Start{Position{offset, epoch, p.topicID}, reason, p.committed, -1}
		close(p.started)
	} else {
		p.waiting = append(p.waiting, Item{Moved: &Moved{From: p.next, To: offset, TopicID: p.topicID, Reason: reason}})
	}
	p.next, p.lastEpoch, p.ahead = offset, epoch, 0
	p.epoch++
	p.inFlight = false
	p.wake()
}

// confirm records that the log contains next. f.mu is held.
func (p *Partition) confirm() {
	p.failures, p.err, p.checked = 0, nil, false
	if p.start == nil {
		if t := p.f.topics[p.topic]; t != nil {
			p.topicID = t.id
		}
		p.start = &Start{Position{p.next, p.lastEpoch, p.topicID}, AtCommit, p.committed, p.epochEnd}
		close(p.started)
	}
}

// outOfRange starts to find a new position: the log's start if next is below it; if next is
// beyond the log's end, the offset at which the logs diverge, or that of StartFrom. A follower
// may just lag, so it asks the leader first. f.mu is held.
func (p *Partition) outOfRange() {
	p.epoch++
	p.inFlight = false
	if p.replica != noBroker {
		p.dropReplica()
		return
	}
	p.ask, p.reason = askEarliest, LogStartMoved
	p.wake()
}

// listed handles an answer to ListOffsets. f.mu is held.
func (p *Partition) listed(offset int64, epoch int32) {
	switch {
	case p.ask == askLatest, p.reason != LogStartMoved, p.next < offset:
		p.settle(offset, epoch, p.reason)
	case p.lastEpoch >= 0 && !p.checked:
		p.checked, p.ask = true, askEpoch
	case p.from == End:
		p.ask, p.reason = askLatest, Truncated
	default:
		p.settle(offset, epoch, Truncated)
	}
	p.wake()
}

// epochEnds handles an answer to OffsetForLeaderEpoch. end is the end offset of the epoch of the
// record before next, or -1 if the log has no epoch that high. f.mu is held.
func (p *Partition) epochEnds(end int64) {
	switch {
	case end >= 0 && end < p.next:
		p.settle(end, -1, Truncated)
	case end >= 0:
		p.ask, p.epochEnd = askNothing, end
	case !p.checked && p.topicID == [16]byte{}: // below Kafka 2.8 this is how a topic created again shows
		p.moveTo(p.next, -1)
		p.ask, p.reason = askEarliest, AnotherTopic
	case !p.checked:
		p.ask = askNothing
	case p.from == End:
		p.ask, p.reason = askLatest, Truncated
	default:
		p.ask, p.reason = askEarliest, Truncated
	}
	p.wake()
}

// fail pauses this partition only, and requests metadata, which may help. f.mu is held.
func (p *Partition) fail(err error, now time.Time) {
	p.failures++
	p.retryAt = now.Add(doubled(p.f.opts.Backoff, p.failures))
	if p.failures == 1 {
		p.f.log.WithFields(logrus.Fields{"topic": p.topic, "partition": p.number, "offset": p.next}).WithError(err).Debug("a partition cannot be fetched")
	}
	p.err = err
	p.dropReplica()
	p.f.needMetadata()
}

// doubled returns first, doubled with each failure after the first, and at most longestBackoff.
func doubled(first time.Duration, failures int) time.Duration {
	return min(longestBackoff, first<<min(failures-1, 10))
}
