package worker

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// tp names a partition of a topic.
type tp struct {
	topic     string
	partition int32
}

func (k tp) String() string { return k.topic + "/" + strconv.Itoa(int(k.partition)) }

// partition is one claim: a partition of a topic from its assignment to its
// revocation. When the same partition comes again, it is another value, so that
// nothing late of the old one (a position, a pause, a delivery) reaches the new.
type partition struct {
	tp
	m     *membership
	start time.Time

	// The state of its calls; see context.
	ctx     atomic.Pointer[callContext]
	leaving chan struct{} // closed as soon as we know that it is to go
	gone    chan struct{} // closed when it may already belong to another member
	ends    sync.Once     // closes leaving
	loses   sync.Once     // closes gone

	acks      acks
	committed atomic.Int64 // what the broker has confirmed; -1: nothing yet
	endOffset atomic.Int64 // the log's end as the last fetch saw it, or a broker told; -1: unknown
	visible   atomic.Int64 // offset of the last message that a fetch has brought, if the pump has it or not; -1: none
	more      atomic.Bool  // the last fetch has not brought all there is
	attention atomic.Int32 // not 0: the executor is to look up before the next message

	inst   *instance   // nil until it is opened
	opened atomic.Bool // inst and position are set
	shared atomic.Bool // it had a part in a transaction
	served atomic.Bool // its first position is committed: with transactions they commit from then on
	leftAt atomic.Pointer[time.Time]

	revocation *revocation // guarded by membership.mu; nil: it goes with its session

	room    chan struct{} // capacity 1: the queue may have room again
	settled chan struct{} // capacity 1: a delivery ended while awaiting
	telling sync.Mutex    // see turns.tellSarama
	idle    chan struct{} // closed once retiring and no longer busy

	// awaiting says that somebody waits for deliveries: the executor until there
	// is room for more, or whoever retires the partition until there are none.
	awaiting atomic.Bool

	// Guarded by turns.mu.
	queue     queue
	last      int64           // offset of the last message pushed; -1: none
	busy      bool            // an executor has it
	retiring  bool            // nothing more is to be begun
	operator  bool            // paused by an operator
	unmade    bool            // its instance could not be constructed yet
	until     time.Time       // not before then; zero: at once
	forever   bool            // paused until resumed by hand
	pardoned  bool            // its suspect is to be called although condemned
	blocked   bool            // its dead letters are on their way
	bad       *kafka.BadBatch // fetching stopped at it: it cannot be decoded; nil: there is none
	skipTo    int64           // what cannot be decoded below this offset is skipped
	suspect   bool            // the next message is one: to be called alone
	gathering time.Time       // since when a batch is being gathered; zero: not
	held      int64           // bytes of what an executor has taken from the queue and is not done with
	fetching  bool            // sarama fetches it, as far as we asked
	paceAt    time.Time       // since when paceN counts
	paceN     int             // messages processed since then
	pace      float64         // messages per second, lately; 0: unknown
	state     status.PartitionState
	reason    string // why it does not run, one line

	// Owned by the executor while busy.
	cur         []*sarama.ConsumerMessage // the chunk in work
	at          int                       // next in cur
	msgs        []racecar.Message         // cur, converted; nil: not yet
	keptBytes   int64
	kept        []*sarama.ConsumerMessage // processed, from the oldest unacknowledged on
	again       int                       // size of the batch that failed last, called again whole; 0: none
	splitTo     int64                     // below this offset batches are called message by message
	letters     *deadLetters              // on their way; nil: none
	suspectFrom int64                     // the next suspect's offset; noSuspect: none
	saidOf      int64                     // offset of the failure that was logged last
	saidAt      time.Time                 // when that was; zero: none yet
	span        context.Context           // of the call whose failure is dealt with; nil: of none, or no tracer

	// Of transactions, owned by the executor as well. Calls from aloneFrom up to
	// aloneTo are to be alone in theirs; alone: the next one is.
	aloneFrom, aloneTo int64
	alone              bool
	joined             int64  // the position behind what was put into transactions; negative: not known; guarded by transactions.mu
	awaitsAll          bool   // nothing is begun until all that is under way has ended
	refusedWith        string // why the group refused its offset, as it was logged
	setBack            bool   // a transaction was aborted: nothing joins one until p is set back; guarded by transactions.mu

	// What the executor, the commit loop and status share.
	mu         locks.Mutex[locks.Partition]
	failedAt   int64 // position that the attempts belong to: they are those of the first message there
	attempts   int   // failed calls in a row at failedAt
	lastError  string
	unfinished unfinished
	// committedMetadata goes with committed.
	committedMetadata string

	messages atomic.Uint64
	errors   atomic.Uint64

	// What progress finds, and the timestamp it needs (both times in ms since the epoch).
	rate    atomic.Uint64 // messages per second, a float64's bits
	hollow  atomic.Pointer[stretch]
	behind  atomic.Int64 // since when there is lag at this position; 0: there is none
	headAt  atomic.Int64 // timestamp of the first message of the chunk in work; 0: it has none
	stalled atomic.Bool  // no progress for stall_timeout though there is lag
}

// noSuspect as partition.suspectFrom: no suspect ahead.
const noSuspect = math.MaxInt64

// Reasons for an executor to look up (partition.attention).
const (
	attentionLeaving   = 1 << iota // to go: begin nothing more
	attentionPaused                // paused by an operator
	attentionDelivery              // a delivery finally failed
	attentionQuiet                 // the worker is quiet
	attentionLetters               // dead letters are through, or have failed
	attentionCancelled             // the ctx of its calls was: the next one gets another
	attentionSuspects              // the list of suspects changed
)

// callContext is the ctx of a partition's calls. It is shared by many calls,
// since making one for each would cost more than handing over the message; a
// cancelled one is replaced before the next call.
type callContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

func newPartition(m *membership, k tp) *partition {
	p := &partition{
		tp:      k,
		m:       m,
		start:   time.Now(),
		leaving: make(chan struct{}),
		gone:    make(chan struct{}),
		room:    make(chan struct{}, 1),
		settled: make(chan struct{}, 1),
		idle:    make(chan struct{}),
		state:   status.PartitionRunning,

		last:        -1,
		fetching:    true,
		suspectFrom: noSuspect,
	}
	p.acks.notify = p.delivered
	p.acks.processed.Store(-1)
	p.committed.Store(-1)
	p.endOffset.Store(-1)
	p.visible.Store(-1)
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

// delivered is told by acks that something ended that may be waited for.
func (p *partition) delivered() {
	failure, _ := p.acks.state()
	if failure != nil {
		p.signal(attentionDelivery)
	}
	if p.awaiting.Swap(false) || failure != nil {
		poke(p.settled)
		p.m.w.turns.look()
	}
}

// untilLeaving is a ctx that ends when p is to go.
func (p *partition) untilLeaving() context.Context { return leavingContext{p} }

// leavingContext is a context.Context made of a partition's leaving channel.
type leavingContext struct{ p *partition }

func (c leavingContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c leavingContext) Done() <-chan struct{}       { return c.p.leaving }
func (c leavingContext) Value(any) any               { return nil }
func (c leavingContext) Err() error {
	if c.p.isLeaving() {
		return context.Canceled
	}
	return nil
}

// newContext makes the ctx of the calls to come.
func (p *partition) newContext() {
	ctx, cancel := context.WithCancelCause(p.m.w.opts.base())
	p.ctx.Store(&callContext{callctx.WithLeaving(ctx, p.leaving), cancel})
}

// signal asks the executor to look up.
func (p *partition) signal(reason int32) { p.attention.Or(reason) }

func (p *partition) unsignal(reason int32) { p.attention.And(^reason) }

// isLeaving reports whether it is known to go.
func (p *partition) isLeaving() bool { return closed(p.leaving) }

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

// stretch is a part of a log in which there is nothing for us: markers of transactions,
// messages of such as were aborted.
type stretch struct{ from, to int64 }

// over returns position, or where what lies at it and is nothing for us ends. A position
// that stopped before it would be taken for lag, and once retention has deleted it for
// messages that were lost.
func (p *partition) over(position int64) int64 {
	if s := p.hollow.Load(); s != nil && s.from <= position && position < s.to {
		return s.to
	}
	return position
}

// commitPoint is what is to be committed: the position, and in metadata how
// often the message there has failed.
func (p *partition) commitPoint() (offset int64, metadata string) {
	return p.commitAt(p.acks.position())
}

// commitAt is what is to be committed for a position: with how often its message has
// failed, and how many claims in a row did not end gracefully.
func (p *partition) commitAt(position int64) (offset int64, metadata string) {
	offset = p.over(position)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m.plain.Load() {
		return offset, ""
	}
	attempts := 0
	if p.failedAt == position {
		attempts = p.attempts
	}
	return offset, commitMetadata(offset, attempts, p.unfinished.startsAt(position, p.m.w.turns.clock.now()))
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

// liveContext returns the ctx for the next call, a new one when the last was
// cancelled but the partition is still ours.
func (p *partition) liveContext() context.Context {
	if c := p.ctx.Load(); c.Err() == nil || p.isLeaving() {
		return c
	}
	p.newContext()
	return p.ctx.Load()
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

// leave says that p is to go. What is in hand may finish.
func (p *partition) leave() {
	p.ends.Do(func() {
		now := time.Now()
		p.leftAt.Store(&now)
		close(p.leaving)
	})
	p.signal(attentionLeaving)
}

// lose says that p may belong to another member already: the call in hand is
// cancelled and nothing is committed any more.
func (p *partition) lose(cause error) {
	p.leave()
	p.loses.Do(func() { close(p.gone) })
	p.ctx.Load().cancel(fmt.Errorf("the partition was lost: %w", cause))
}

// resetBackoff ends a pause. Called with turns.mu held.
func (p *partition) resetBackoff() {
	p.until = time.Time{}
	p.state, p.reason = status.PartitionRunning, ""
}
