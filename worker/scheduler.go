package worker

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/locks"
)

// quantum is how long a partition is served at a time when its messages take less: long
// enough that changing partitions costs nothing, short enough that a slow neighbour is
// not noticed.
const quantum = 50 * time.Millisecond

// limits bound what a worker holds besides what its fetchers do.
type limits struct {
	unacknowledged int64 // bytes of batches that wait for output to be acknowledged
	decoded        int64 // bytes that are decoded and not processed, of partitions that nobody serves
	fetched        int64 // bytes of batches that partitions have that nobody serves
}

func newLimits(c *config.Config) limits {
	bytes := int64(max(c.MaxBytes, 1<<20))
	return limits{unacknowledged: bytes, decoded: bytes, fetched: bytes}
}

// scheduler decides which partition an executor serves next. There is one for all
// memberships of a worker, as they share its executors.
type scheduler struct {
	concurrency int
	roundRobin  bool          // multi_subscription_strategy
	batch       int           // messages of a batch; 0: one by one
	batchWait   time.Duration // how long a batch may wait for more
	limits      limits

	mu        locks.Mutex[locks.Scheduler]
	wake      *sync.Cond // an executor may find something to do
	topics    []*topicPartitions
	lastTopic int  // the topic served last
	busy      int  // executors serving a partition
	isolated  bool // one of them must have nothing beside it
	quiet     bool // nothing is begun
	halted    bool // nothing is begun any more
	stopped   bool
	timer     stopper // wakes at the earliest deadline of a partition
	timerAt   time.Time
	parts     int
	clock     clock

	opener         *opener
	unacknowledged atomic.Int64            // see limits
	decoded        int64                   // see limits
	rests          *list.List              // partitions that hold something decoded, those served last behind
	claims         map[*partition]struct{} // those that are claimed, served already or not
}

// topicPartitions are the partitions of a topic, served in turn.
type topicPartitions struct {
	name  string
	parts []*partition
	next  int
}

func newScheduler(concurrency int, roundRobin bool, l limits) *scheduler {
	t := &scheduler{
		concurrency: concurrency, roundRobin: roundRobin, limits: l, clock: systemClock(),
		claims: map[*partition]struct{}{}, rests: list.New(),
	}
	t.wake = sync.NewCond(&t.mu)
	return t
}

// claimed notes a partition that is being opened.
func (t *scheduler) claimed(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claims[p] = struct{}{}
}

// opened gives p its source.
func (t *scheduler) opened(p *partition, s source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.cursor.source, p.cursor.opener, p.cursor.unacknowledged, p.cursor.epoch = s, t.opener, &t.unacknowledged, &p.epoch
	p.source.Store(&s)
}

// available is called when p's source may have something new.
func (t *scheduler) available(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(p)
	if p.notified = true; !p.busy {
		t.wake.Signal()
	}
}

// count brings up to date what waits of p. Called with mu held.
func (t *scheduler) count(p *partition) {
	if p.cursor.source != nil {
		p.buffered, p.bufferedBytes = p.cursor.source.Buffered()
	}
	if !p.busy {
		p.taken, _ = p.cursor.waiting()
	}
}

// add lets p be served.
func (t *scheduler) add(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.topics, func(tt *topicPartitions) bool { return tt.name == p.topic })
	if i < 0 {
		i = len(t.topics)
		t.topics = append(t.topics, &topicPartitions{name: p.topic})
	}
	tt := t.topics[i]
	tt.parts = append(tt.parts, p)
	slices.SortFunc(tt.parts, func(a, b *partition) int { return int(a.partition) - int(b.partition) })
	t.parts++
	if t.quiet || t.halted {
		p.signal(attentionQuiet)
	}
	t.wake.Broadcast()
}

// retire ensures that no more calls of p begin. Its idle channel is closed once the call
// in hand, if any, has ended.
func (t *scheduler) retire(p *partition) {
	p.signal(attentionLeaving)
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.retiring {
		return
	}
	p.retiring = true
	if !p.busy {
		close(p.idle)
	}
}

// remove forgets a retired partition.
func (t *scheduler) remove(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, tt := range t.topics {
		if tt.name != p.topic {
			continue
		}
		if n := len(tt.parts); n > 0 {
			tt.parts = slices.DeleteFunc(tt.parts, func(q *partition) bool { return q == p })
			t.parts -= n - len(tt.parts)
		}
		if len(tt.parts) == 0 {
			t.topics = slices.Delete(t.topics, i, i+1)
		}
		break
	}
	t.forgetRest(p)
	p.cursor.close()
	delete(t.claims, p)
}

// take waits until there is something to do and returns the partition, now
// busy, and whether nothing runs beside it; nil once stopped.
func (t *scheduler) take() (p *partition, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if t.stopped {
			return nil, false
		}
		if p := t.pick(); p != nil {
			p.busy, p.notified = true, false
			t.hold(p, false)
			p.gathering = time.Time{}
			t.busy++
			t.isolated = p.suspect
			t.forgetRest(p)
			return p, p.suspect || t.concurrency == 1
		}
		t.wake.Wait()
	}
}

// pick chooses among those that are ready: of the topic served last as long as
// it has any (exhaust-topic), or of the next topic (round-robin); within a topic
// one partition after the other.
func (t *scheduler) pick() *partition {
	if t.quiet || t.halted || t.isolated {
		return nil
	}
	now := t.clock.now()
	var soonest time.Time
	var found *partition
	first := t.lastTopic
	if t.roundRobin {
		first++
	}
	for i := range t.topics {
		number := (first + i) % len(t.topics)
		tt := t.topics[number]
		for j := range tt.parts {
			k := (tt.next + j) % len(tt.parts)
			p := tt.parts[k]
			ready, when := t.ready(p, now)
			if !ready {
				if !when.IsZero() && (soonest.IsZero() || when.Before(soonest)) {
					soonest = when
				}
				continue
			}
			if p.suspect && t.busy > 0 {
				// It waits for the others to end; nothing else is begun meanwhile.
				return nil
			}
			tt.next, t.lastTopic, found = (k+1)%len(tt.parts), number, p
			break
		}
		if found != nil {
			break
		}
	}
	if found == nil && !soonest.IsZero() {
		t.wakeAt(soonest, now)
	}
	return found
}

// ready reports whether p can be served, else when it may be without anything
// else happening (zero: never).
func (t *scheduler) ready(p *partition, now time.Time) (bool, time.Time) {
	if p.busy || p.retiring {
		return false, time.Time{}
	}
	if p.cursor.reading > 0 && p.acks.outstanding.Load() == 0 {
		p.cursor.release(p.acks.processed.Load()) // else nothing more could be fetched of it
	}
	if p.blocked || p.awaiting.Load() {
		return false, time.Time{}
	}
	if p.attention.Load()&(attentionDelivery|attentionDeadLetters) != 0 {
		return true, time.Time{} // to be set back, or forward
	}
	if p.operator || p.forever || p.corrupt != nil || p.inst.committing() {
		return false, time.Time{}
	}
	n, pending := p.cursor.waiting()
	if !pending && p.bufferedBytes == 0 && !p.notified && p.deadLetters == nil {
		return false, time.Time{}
	}
	if p.until.After(now) {
		return false, p.until
	}
	if t.gathers(p, n+p.buffered) {
		if p.gathering.IsZero() {
			p.gathering = now
		}
		if when := p.gathering.Add(t.batchWait); when.After(now) {
			return false, when
		}
	}
	return true, time.Time{}
}

// gathers reports whether p's next batch, of n messages so far, waits a while for more:
// only while more is on its way.
func (t *scheduler) gathers(p *partition, n int) bool {
	if n == 0 || n >= t.batch || p.repeatSize > 0 || p.suspect || p.deadLetters != nil || p.cursor.moved != nil {
		return false
	}
	_, caughtUp := p.cursor.source.Fetched()
	return !caughtUp && !p.cursor.source.Full()
}

// release ends a quantum.
func (t *scheduler) release(p *partition) {
	decoded, acknowledged := p.cursor.decoded(), p.acks.position() // before p can be anybody else's
	t.mu.Lock()
	defer t.mu.Unlock()
	p.busy = false
	t.busy--
	t.isolated = false
	if t.yields(p, acknowledged) {
		decoded = 0
	}
	t.count(p)
	t.noteRest(p, decoded)
	if p.retiring {
		close(p.idle)
	}
	t.wake.Broadcast()
}

// yields has p give back what it holds, if it is not served for now and holds more than its
// share of what may be fetched: others could not be fetched. It is fetched again. Called
// with mu held; nobody serves p.
func (t *scheduler) yields(p *partition, acknowledged int64) bool {
	t.hold(p, p.operator || p.forever || p.blocked || p.corrupt != nil || p.until.After(t.clock.now()))
	if !p.held || p.cursor.bytes() <= t.limits.fetched/int64(max(t.parts, 1)) {
		return false
	}
	gave := p.cursor.giveBack(acknowledged)
	p.notified = p.notified || gave // nothing of it may be fetched before it is served
	return gave
}

// hold notifies p's source whether p is paused. Called with mu held.
func (t *scheduler) hold(p *partition, held bool) {
	if p.held != held && p.cursor.source != nil {
		p.held = held
		p.cursor.source.Hold(held)
	}
}

// noteRest notes what p holds decoded, and has others forget theirs where all hold too
// much: it is decoded again. Called with mu held.
func (t *scheduler) noteRest(p *partition, decoded int64) {
	if decoded == 0 {
		return
	}
	p.decoded, p.rest = decoded, t.rests.PushBack(p)
	for t.decoded += decoded; t.decoded > t.limits.decoded && t.rests.Len() > 1; {
		oldest := t.rests.Front().Value.(*partition)
		t.forgetRest(oldest)
		oldest.cursor.discard()
	}
}

// forgetRest has what p holds decoded counted no more. Called with mu held.
func (t *scheduler) forgetRest(p *partition) {
	if p.rest != nil {
		t.rests.Remove(p.rest)
		t.decoded -= p.decoded
		p.rest, p.decoded = nil, 0
	}
}

// wakeAt wakes the executors at that time.
func (t *scheduler) wakeAt(when, now time.Time) {
	if !t.timerAt.IsZero() && t.timerAt.After(now) && !when.Before(t.timerAt) {
		return // it will be noticed by then, and set again
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timerAt, t.timer = when, t.clock.after(when.Sub(now), t.wakeExecutors)
}

// wakeExecutors has the executors check for partitions that are ready.
func (t *scheduler) wakeExecutors() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake.Broadcast()
}

// change runs f with the lock held and wakes the executors.
func (t *scheduler) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.wake.Broadcast()
}

// each calls f for all partitions, with the lock held.
func (t *scheduler) each(f func(*partition)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.eachLocked(f)
}

func (t *scheduler) eachLocked(f func(*partition)) {
	for _, tt := range t.topics {
		for _, p := range tt.parts {
			f(p)
		}
	}
}

// all returns the partitions in order of topic and number.
func (t *scheduler) all() []*partition {
	var all []*partition
	t.each(func(p *partition) { all = append(all, p) })
	slices.SortFunc(all, func(a, b *partition) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.partition) - int(b.partition)
	})
	return all
}

// setQuiet stops (or goes on) beginning calls; partitions and membership stay.
func (t *scheduler) setQuiet(quiet bool) {
	t.change(func() { t.quiet = quiet })
	t.signalQuiet()
}

// halt begins nothing any more.
func (t *scheduler) halt() {
	t.change(func() { t.halted = true })
	t.signalQuiet()
}

func (t *scheduler) signalQuiet() {
	t.each(func(p *partition) {
		if t.quiet || t.halted {
			p.signal(attentionQuiet)
		} else {
			p.unsignal(attentionQuiet)
		}
	})
}

// stop ends the executors after their quanta.
func (t *scheduler) stop() {
	t.change(func() {
		t.stopped = true
		if t.timer != nil {
			t.timer.Stop()
		}
	})
}

// poke leaves a note on a channel of capacity 1.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
