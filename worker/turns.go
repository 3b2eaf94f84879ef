package worker

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/locks"
)

// turnTime is how long a partition is served at a time when its messages take
// less: long enough that taking turns costs nothing, short enough that a slow
// neighbour is not noticed.
const turnTime = 50 * time.Millisecond

// turns decides which partition an executor serves next. There is one for all
// memberships of a worker, as they share its executors.
type turns struct {
	concurrency int
	roundRobin  bool          // multi_subscription_strategy
	batch       int           // messages of a batch; 0: one by one
	batchWait   time.Duration // how long a batch may wait for more
	limits      limits

	mu      locks.Mutex[locks.Scheduler]
	wake    *sync.Cond // an executor may find something to do
	topics  []*topicTurns
	at      int  // the topic served last
	busy    int  // executors serving a partition
	alone   bool // one of them must have nothing beside it
	quiet   bool // nothing is begun
	halted  bool // nothing is begun any more
	stopped bool
	timer   stopper // wakes at the earliest deadline of a partition
	timerAt time.Time
	parts   int
	clock   clock

	budget    *budget
	bytes     int64                   // in all queues, in work and kept until output is acknowledged
	kept      atomic.Int64            // of them, those kept
	claims    map[*partition]struct{} // those with a pump, served already or not
	throttled bool                    // nothing is fetched: all queues together are full
	drained   chan struct{}           // capacity 1: they are not any more
}

// topicTurns are the partitions of a topic, served in turn.
type topicTurns struct {
	name  string
	parts []*partition
	next  int
}

func newTurns(concurrency int, roundRobin bool, l limits) *turns {
	t := &turns{
		concurrency: concurrency, roundRobin: roundRobin, limits: l, clock: systemClock(),
		claims: map[*partition]struct{}{}, drained: make(chan struct{}, 1),
	}
	t.budget = newBudget(t, int(l.bytes/2))
	t.wake = sync.NewCond(&t.mu)
	return t
}

// add lets p be served.
func (t *turns) add(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.topics, func(tt *topicTurns) bool { return tt.name == p.topic })
	if i < 0 {
		i = len(t.topics)
		t.topics = append(t.topics, &topicTurns{name: p.topic})
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

// retire sees to it that nothing more of p is begun. Its idle channel is closed
// once the call in hand, if any, has ended.
func (t *turns) retire(p *partition) {
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
	poke(p.room)
}

// remove forgets a retired partition.
func (t *turns) remove(p *partition) {
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
	t.bytes -= p.queue.bytes + p.held
	p.queue, p.held = queue{}, 0
	t.kept.Add(-p.keptBytes)
	delete(t.claims, p)
}

// take waits until there is something to do and returns the partition, now
// busy, and whether nothing runs beside it; nil once stopped.
func (t *turns) take() (p *partition, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if t.stopped {
			return nil, false
		}
		if p := t.pick(); p != nil {
			p.busy = true
			p.gathering = time.Time{}
			t.busy++
			t.alone = p.suspect
			return p, p.suspect || t.concurrency == 1
		}
		if hungry := t.feed(); len(hungry) > 0 {
			t.mu.Unlock()
			t.tell(hungry)
			t.mu.Lock()
			continue
		}
		t.wake.Wait()
	}
}

// pick chooses among those that are ready: of the topic served last as long as
// it has any (exhaust-topic), or of the next topic (round-robin); within a topic
// one partition after the other.
func (t *turns) pick() *partition {
	if t.quiet || t.halted || t.alone {
		return nil
	}
	now := t.clock.now()
	var soonest time.Time
	var found *partition
	first := t.at
	if t.roundRobin {
		first++
	}
	for i := range t.topics {
		at := (first + i) % len(t.topics)
		tt := t.topics[at]
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
			tt.next, t.at, found = (k+1)%len(tt.parts), at, p
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
func (t *turns) ready(p *partition, now time.Time) (bool, time.Time) {
	if p.busy || p.retiring || p.blocked || p.awaiting.Load() {
		return false, time.Time{}
	}
	if p.attention.Load()&(attentionDelivery|attentionLetters) != 0 {
		return true, time.Time{} // to be set back, or forward
	}
	if p.operator || p.forever || p.inst.committing() {
		return false, time.Time{}
	}
	n := len(p.cur) - p.at + p.queue.n
	if n == 0 {
		return p.skips(), time.Time{}
	}
	if p.until.After(now) {
		return false, p.until
	}
	if t.gathers(p, n) {
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
// only while more is on its way, and not once half of what may be held is there: beyond
// that fetches get small and soon stop.
func (t *turns) gathers(p *partition, n int) bool {
	if n >= t.batch || p.again > 0 || p.suspect || !p.fetching || t.throttled || t.bytes >= t.limits.bytes/2 || t.full(p) {
		return false
	}
	return p.last < p.visible.Load() || p.more.Load()
}

// release ends a turn.
func (t *turns) release(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.busy = false
	t.busy--
	t.alone = false
	if p.retiring {
		close(p.idle)
	}
	t.wake.Broadcast()
}

// wakeAt has the executors look again at that time.
func (t *turns) wakeAt(when, now time.Time) {
	if !t.timerAt.IsZero() && t.timerAt.After(now) && !when.Before(t.timerAt) {
		return // it will be noticed by then, and set again
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timerAt, t.timer = when, t.clock.after(when.Sub(now), t.look)
}

// look wakes the executors.
func (t *turns) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake.Broadcast()
}

// change runs f with the lock held and wakes the executors.
func (t *turns) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.wake.Broadcast()
}

// each calls f for all partitions, with the lock held.
func (t *turns) each(f func(*partition)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tt := range t.topics {
		for _, p := range tt.parts {
			f(p)
		}
	}
}

// all returns the partitions in order of topic and number.
func (t *turns) all() []*partition {
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
func (t *turns) setQuiet(quiet bool) {
	t.change(func() { t.quiet = quiet })
	t.tellQuiet()
}

// halt begins nothing any more.
func (t *turns) halt() {
	t.change(func() { t.halted = true })
	t.tellQuiet()
}

func (t *turns) tellQuiet() {
	t.each(func(p *partition) {
		if t.quiet || t.halted {
			p.signal(attentionQuiet)
		} else {
			p.unsignal(attentionQuiet)
		}
	})
}

// stop ends the executors after their turns.
func (t *turns) stop() {
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
