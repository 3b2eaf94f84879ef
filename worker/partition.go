package worker

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/calllog"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/racecar"
)

// topicPartition names a partition of a topic.
type topicPartition struct {
	topic     string
	partition int32
}

func (k topicPartition) String() string { return k.topic + "/" + strconv.Itoa(int(k.partition)) }

// partition is one claim: a partition of a topic from its assignment to its
// revocation. When the same partition comes again, it is another value, so that
// nothing late of the old one (a position, a pause, a delivery) reaches the new.
// Its fields are grouped by who may use them.
type partition struct {
	topicPartition
	m     *membership
	start time.Time

	claimed
	acked
	scheduled
	executed
	recorded
	measured
}

// claimed is how the claim stands. The goroutine of the claim sets inst and what is opened;
// others look at it once opened is set.
type claimed struct {
	ctx           atomic.Pointer[callContext] // of its calls
	markedLeaving chan struct{}               // closed as soon as we know that p has to be released
	gone          chan struct{}               // closed when it may already belong to another member
	idle          chan struct{}               // closed once it is retired and no longer busy
	ends          sync.Once                   // closes markedLeaving
	loses         sync.Once                   // closes gone
	leftAt        atomic.Pointer[time.Time]
	revocation    *revocation // guarded by membership.mu; nil: it goes with its session

	inst           *instance              // nil until it is opened
	source         atomic.Pointer[source] // nil until it is opened
	fetchError     atomic.Pointer[string] // why it is not fetched; nil: it is
	opened         atomic.Bool            // inst and position are set
	firstCommitted atomic.Bool            // its first position is committed: with transactions they commit from then on
}

// acked is what executors, deliveries and commits share.
type acked struct {
	acks      acks
	committed atomic.Int64 // what the broker has confirmed; -1: nothing yet
	epoch     atomic.Int32 // kafka.LeaderEpoch of the newest batch that was read: not below that of any position
	interrupt atomic.Bool  // the executor begins no further call in this quantum

	// awaiting says that somebody waits for deliveries: the executor until there
	// is room for more, or whoever retires the partition until there are none.
	awaiting atomic.Bool
	settled  chan struct{} // capacity 1: a delivery ended while awaiting

	shared  atomic.Pointer[transactions] // those that it has had a part in; nil: none
	joined  int64                        // the position behind what was put into them; negative: not known; guarded by transactions.mu
	setBack bool                         // one was aborted: nothing joins one until p is set back; guarded by transactions.mu
}

// scheduled is guarded by scheduler.mu.
type scheduled struct {
	runner        runner
	lanes         *laneRunner // that, with ordering key or none; nil: another
	holds         holds
	served        bool      // it is in the scheduler's hands
	queued        bool      // it is in the list of those that are ready
	heapIndex     int       // among the scheduler's deadlines, from 1 on; 0: nowhere
	when          time.Time // that deadline
	buffered      int       // messages that were fetched and not taken
	sourceHeld    bool      // its source knows that it is paused
	notified      bool      // there may be something new at the source
	taken         int       // messages that were taken and not processed, between two quanta
	bufferedBytes int64
	decoded       int64         // bytes that it holds decoded between two quanta
	rest          *list.Element // of scheduler.rests; nil: it holds none
	busy          bool          // an executor has it
	retryOnce     bool          // its next message is called although it is poisoned
	skipBatch     bool          // an operator skips the batch that cannot be decoded
	suspect       bool          // the next message is one: to be called alone
	probe         bool          // it may make one call during an outage
	gathering     time.Time     // since when a batch is being gathered; zero: not
}

// executed is owned by the executor while it is busy, by the scheduler between two quanta,
// and by the goroutine of the claim once it is idle.
type executed struct {
	cursor       cursor
	processed    int64            // messages
	repeatSize   int              // of the batch that failed last, which is called again whole; 0: none
	splitTo      int64            // below this offset batches are called message by message
	probing      bool             // it makes one call, though a dependency of it is unavailable
	limitedAt    int64            // offset of the message that dead_letter_limit holds
	limitedUntil time.Time        // when that is dead-lettered all the same; zero: it holds none
	deadLetters  *deadLetters     // on their way; nil: none
	undisposed   *deadLetters     // to be sent once their messages were fetched again; nil: none
	suspectFrom  int64            // the next suspect's offset; noSuspect: none
	loggedOf     int64            // offset of the failure that was logged last
	loggedAt     time.Time        // when that was; zero: none yet
	paused       bool             // an event said so, and none that it goes on
	awaitsAll    bool             // nothing is begun until all that is under way has ended
	awaitsFor    string           // what its transaction holds, for the status; "": its messages
	refusedWith  string           // why the group refused its offset, as it was logged
	span         context.Context  // of the call whose failure is dealt with; nil: of none, or no tracer
	failing      *racecar.Message // whose failure is dealt with; nil: none that was just called

	// Calls from isolatedFrom up to isolatedTo must be alone in their transactions;
	// isolated: the next one must.
	isolatedFrom, isolatedTo int64
	isolated                 bool
}

// recorded is what goes with a position: the executor writes it, the commit loop and the
// status read it.
type recorded struct {
	mu                locks.Mutex[locks.Partition]
	failedAt          int64 // position that the attempts belong to: they are those of the first message there
	attempts          int   // failed calls in a row at failedAt
	lastError         string
	unfinished        unfinished
	committedMetadata string        // goes with committed
	topicID           [16]byte      // of the topic that the position is in; zero: unknown
	finished          offsetmap.Set // messages beyond the position; see markFinished
}

// measured are figures for the status.
type measured struct {
	messages atomic.Uint64
	beyond   atomic.Int64 // finished beyond the position, in lanes
	errors   atomic.Uint64

	// What progress finds, and the timestamp it needs (both times in ms since the epoch).
	rate    atomic.Uint64 // messages per second, a float64's bits
	behind  atomic.Int64  // since when there is lag at this position; 0: there is none
	headAt  atomic.Int64  // timestamp of the first message of the chunk in work; 0: it has none
	stalled atomic.Bool   // no progress for stall_timeout though there is lag
}

// noPosition as what a position was before: no count is kept.
const noPosition = -1

// noSuspect as partition.suspectFrom: no suspect ahead.
const noSuspect = math.MaxInt64

// callContext is what the ctxs of a partition's calls have in common. It is shared by many
// calls, since making one for each would cost more than handing over the message; a
// cancelled one is replaced before the next call.
type callContext struct {
	calllog.Parent
	cancel context.CancelCauseFunc
}

func newPartition(m *membership, k topicPartition) *partition {
	p := &partition{topicPartition: k, m: m, start: m.w.scheduler.clock.now()}
	p.markedLeaving, p.gone, p.idle = make(chan struct{}), make(chan struct{}), make(chan struct{})
	p.settled = make(chan struct{}, 1)
	p.suspectFrom = noSuspect
	p.runner = serial{p}
	p.acks.notify = p.delivered
	p.acks.processed.Store(-1)
	p.committed.Store(-1)
	p.newContext()
	return p
}

// begin sets where p begins, and how often the message there has failed.
func (p *partition) begin(position int64, attempts int) {
	p.acks.processed.Store(position)
	p.joined = position // not served yet: nobody looks
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failedAt, p.attempts = position, attempts
}

// delivered is called by acks when a delivery ended that somebody may wait for.
func (p *partition) delivered() {
	failed := p.acks.failed.Load() > 0
	if failed {
		p.interrupt.Store(true)
	}
	awaited := p.awaiting.Swap(false)
	if awaited || failed {
		poke(p.settled)
	}
	if awaited || failed || p.acks.outstanding.Load() == 0 { // then its batches can be released
		p.m.w.scheduler.outputEnded(p)
	}
}

// untilLeaving is a ctx that ends when p is to go.
func (p *partition) untilLeaving() context.Context { return leavingContext{p} }

// leavingContext is a context.Context made of a partition's markedLeaving channel.
type leavingContext struct{ p *partition }

func (c leavingContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c leavingContext) Done() <-chan struct{}       { return c.p.markedLeaving }
func (c leavingContext) Value(any) any               { return nil }
func (c leavingContext) Err() error {
	if c.p.isLeaving() {
		return context.Canceled
	}
	return nil
}

// newContext makes the ctx of the calls to come.
func (p *partition) newContext() {
	w := p.m.w
	ctx, cancel := context.WithCancelCause(w.opts.base())
	p.ctx.Store(&callContext{calllog.Parent{Context: callctx.WithLeaving(ctx, p.markedLeaving), Logger: w.slog, Tracer: w.opts.Tracer}, cancel})
}

// isLeaving reports whether it is known to go.
func (p *partition) isLeaving() bool { return closed(p.markedLeaving) }

// lost reports whether it may belong to another member already.
func (p *partition) lost() bool { return closed(p.gone) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// commitPoint returns the next commit: the position, and in metadata how often the
// message there has failed.
func (p *partition) commitPoint() (offset int64, metadata string) {
	if p.lanes != nil {
		return p.lanes.commitPoint()
	}
	return p.commitAt(p.acks.position())
}

// commitAt returns the commit for a position, with how often its message has failed and
// how many claims in a row did not end gracefully.
func (p *partition) commitAt(position int64) (offset int64, metadata string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	offset = p.finished.Next(position)
	if p.m.plain.Load() {
		return offset, ""
	}
	attempts := 0
	if p.failedAt == position {
		attempts = p.attempts
	}
	return offset, p.commitMetadata(offset, attempts, p.unfinished.startsAt(position, p.m.w.scheduler.clock.now()))
}

// moveTo moves the position over what is not for consumers: markers of transactions,
// aborted messages, what compaction has removed. All before it is processed, and the
// message behind it is the one that counts belong to. The executor owns p.
func (p *partition) moveTo(position int64) {
	if p.lanes != nil {
		p.lanes.moveTo(position)
		return
	}
	before := p.acks.processed.Load()
	if position <= before {
		return
	}
	p.setPosition(before, position)
}

// setPosition sets the position, and keeps the counts of the message there.
func (p *partition) setPosition(before, position int64) {
	p.inst.delivery.moved(p, before, position)
	p.mu.Lock()
	if p.failedAt == before {
		p.failedAt = position
	}
	p.unfinished.moved(before, position)
	p.mu.Unlock()
	p.acks.processed.Store(position)
}

// retries returns how often the message at p's position has failed.
func (p *partition) retries() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failedAt != p.acks.processed.Load() {
		return 0
	}
	return p.attempts
}

// liveContext returns the parent of the next call's ctx, a new one when the last was
// cancelled but the partition is still ours.
func (p *partition) liveContext() *calllog.Parent {
	if c := p.ctx.Load(); c.Err() == nil || p.isLeaving() {
		return &c.Parent
	}
	p.newContext()
	return &p.ctx.Load().Parent
}

// confirm notes what the broker has committed; only the commit loop calls it.
func (p *partition) confirm(offset int64, metadata string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.committed.Store(offset)
	p.committedMetadata = metadata
}

// confirmed reports whether that is committed already.
func (p *partition) confirmed(offset int64, metadata string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.committed.Load() == offset && p.committedMetadata == metadata
}

// markLeaving marks p as leaving. The call in hand may finish.
func (p *partition) markLeaving() {
	p.ends.Do(func() {
		now := time.Now()
		p.leftAt.Store(&now)
		close(p.markedLeaving)
	})
	p.interrupt.Store(true)
}

// lose says that p may belong to another member already: the call in hand is
// cancelled and nothing is committed any more.
func (p *partition) lose(cause error) {
	p.markLeaving()
	p.loses.Do(func() { close(p.gone) })
	p.ctx.Load().cancel(fmt.Errorf("the partition was lost: %w", cause))
}
