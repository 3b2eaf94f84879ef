package worker

import (
	"cmp"
	"container/list"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/outage"
)

// quantum is how long a partition is served at a time when its messages take less: long
// enough that changing partitions costs nothing, short enough that a slow neighbour is
// not noticed.
const quantum = 50 * time.Millisecond

// gatherCheck is how often a batch that waits for more looks whether more can come: what takes
// the memory for it may be another partition's, of which nobody tells.
const gatherCheck = 50 * time.Millisecond

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
//
// It looks at a partition when something about it changes, and not at all of them when an
// executor is free: see update.
type scheduler struct {
	concurrency int
	roundRobin  bool          // multi_subscription_strategy
	batch       int           // messages of a batch; 0: one by one
	batchWait   time.Duration // how long a batch may wait for more
	limits      limits

	mu       locks.Mutex[locks.Scheduler]
	wake     *sync.Cond // an executor may find something to do
	holds    holds      // of all partitions
	busy     int        // executors serving a partition
	isolated bool       // one of them must have nothing beside it
	stopped  bool
	clock    clock

	ready   []*readyTopic          // those with partitions to be served, the next one first
	byTopic map[string]*readyTopic // of each topic that has had one
	last    *readyTopic            // served last
	waiting deadlines              // partitions that can be served later
	timer   stopper                // fires at the earliest of those; nil: not set
	timerAt time.Time

	outages        *outages
	opener         *opener
	unacknowledged atomic.Int64            // see limits
	decoded        int64                   // see limits
	rests          *list.List              // partitions that hold something decoded, those served last behind
	claims         map[*partition]struct{} // those that are claimed, served already or not
	served         int                     // of those, how many are served
}

func newScheduler(concurrency int, roundRobin bool, l limits) *scheduler {
	t := &scheduler{
		concurrency: concurrency, roundRobin: roundRobin, limits: l, clock: systemClock(),
		claims: map[*partition]struct{}{}, rests: list.New(), byTopic: map[string]*readyTopic{},
	}
	t.outages = newOutages(t, outage.Options{Longest: defaultOutagePause, Random: rand.Float64}, func() {})
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
	p.notified = true
	t.update(p)
}

// count brings up to date what waits of p. Called with mu held.
func (t *scheduler) count(p *partition) {
	if p.cursor.source != nil {
		p.buffered, p.bufferedBytes = p.cursor.source.Buffered()
	}
	if !p.busy && !p.holds.has(holdLeaving) { // else the cursor is another's
		p.taken, _ = p.cursor.waiting()
	}
}

// add lets p be served.
func (t *scheduler) add(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claims[p] = struct{}{}
	p.served = true
	t.served++
	if t.byTopic[p.topic] == nil {
		t.byTopic[p.topic] = &readyTopic{}
	}
	t.byTopic[p.topic].served++
	t.outages.serve(p)
	t.update(p)
}

// retire ensures that no more calls of p begin. Its idle channel is closed once the call
// in hand, if any, has ended.
func (t *scheduler) retire(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.holds.has(holdLeaving) {
		return
	}
	t.hold(p, heldBy{hold: holdLeaving})
	if !p.busy {
		t.outages.forget(p)
		close(p.idle)
	}
}

// remove forgets a retired partition.
func (t *scheduler) remove(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unready(p)
	t.waiting.remove(p)
	if p.served {
		p.served = false
		t.served--
		if t.byTopic[p.topic].served--; t.byTopic[p.topic].served == 0 {
			delete(t.byTopic, p.topic)
		}
	}
	t.forgetRest(p)
	p.cursor.close()
	if p.lanes != nil {
		p.lanes.close()
	}
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
			t.busy++
			t.isolated = p.suspect
			p.runner.begin(t)
			t.update(p)
			t.openAhead()
			return p, p.suspect || t.concurrency == 1
		}
		t.wake.Wait()
	}
}

// openAhead has batches opened of the partitions that are served next. Called with mu held.
func (t *scheduler) openAhead() {
	if len(t.ready) == 0 {
		return
	}
	next := t.ready[0].parts
	for _, p := range next[:min(len(next), partitionsAhead)] {
		if _, ok := p.runner.(serial); ok && !p.busy { // else the cursor is another's
			p.cursor.openAhead(p.cursor.reading)
			t.count(p)
		}
	}
}

// pick chooses among those that are ready: of the topic served last as long as
// it has any (exhaust-topic), or of the next topic (round-robin); within a topic
// one partition after the other.
func (t *scheduler) pick() *partition {
	if len(t.holds) > 0 || t.isolated {
		return nil
	}
	if len(t.ready) == 0 {
		t.stopGathering()
	}
	for len(t.ready) > 0 {
		topic := t.ready[0]
		p := topic.parts[0]
		p.interrupt.Store(false) // before its holds are looked at: who sets one interrupts
		if ready, _ := p.runner.ready(t, t.clock.now()); !ready {
			t.unready(p)
			t.update(p)
			continue
		}
		if p.suspect && t.busy > 0 {
			return nil // it waits for the others to end; nothing else is begun meanwhile
		}
		t.unready(p)
		if t.last = topic; t.roundRobin && len(topic.parts) > 0 {
			t.ready = append(t.ready[1:], topic)
		}
		return p
	}
	return nil
}

// stopGathering serves the batch that has gathered for longest before its time, if nothing more can
// be fetched: others hold all the memory for it. Called with mu held.
func (t *scheduler) stopGathering() {
	if i := slices.IndexFunc(t.waiting, func(p *partition) bool { return !p.gathering.IsZero() }); i >= 0 {
		t.update(t.waiting[i])
	}
}

// update puts p where it belongs after something about it has changed: among those that are
// ready, or those that will be. What a later change makes of one that is ready is found when
// it is picked. Called with mu held.
func (t *scheduler) update(p *partition) {
	if !p.served || p.queued {
		return
	}
	now := t.clock.now()
	switch ready, when := p.runner.ready(t, now); {
	case ready:
		t.waiting.remove(p)
		t.makeReady(p)
	case when.IsZero():
		t.waiting.remove(p)
	default:
		t.waiting.set(p, when)
		t.setTimer(now)
	}
}

// updateAll is update for all partitions of an instance with transactions.
func (t *scheduler) updateAll(txn *transactions) {
	t.each(func(p *partition) {
		if p.inst.txn == txn {
			t.update(p)
		}
	})
}

// setTimer has the partitions looked at again whose time comes next. Called with mu held.
func (t *scheduler) setTimer(now time.Time) {
	if len(t.waiting) == 0 || t.stopped {
		return
	}
	next := t.waiting[0].when
	if t.timer != nil {
		if !next.Before(t.timerAt) {
			return // it is set again then
		}
		t.timer.Stop()
	}
	t.timerAt, t.timer = next, t.clock.after(next.Sub(now), t.timeIsUp)
}

func (t *scheduler) timeIsUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	t.timer = nil
	for len(t.waiting) > 0 && !t.waiting[0].when.After(now) {
		p := t.waiting[0]
		t.waiting.remove(p)
		t.update(p)
	}
	t.setTimer(now)
}

// runner is how executors come to run a partition's calls: serial, one executor at a time.
// ready and begin are called with scheduler.mu held.
type runner interface {
	// ready reports whether an executor may begin, else when it may without anything else
	// happening (zero: never).
	ready(t *scheduler, now time.Time) (bool, time.Time)
	// begin notes that an executor takes the partition. If it is ready still, another one
	// may take it at once.
	begin(t *scheduler)
	// run is called by that executor, and ends with scheduler.release or its like.
	run(e *executor, alone bool)
}

// serial runs a partition's calls one after the other: one executor has the partition for
// a quantum.
type serial struct{ p *partition }

func (s serial) run(e *executor, alone bool) { e.serve(s.p, alone) }

func (s serial) begin(t *scheduler) {
	p := s.p
	p.busy, p.notified = true, false
	if p.probing = p.probe; p.probing {
		t.outages.set.Began(t.clock.now(), p)
	}
	t.holdSource(p, false)
	p.gathering = time.Time{}
	t.forgetRest(p)
}

func (s serial) ready(t *scheduler, now time.Time) (bool, time.Time) {
	p := s.p
	if p.busy || p.isLeaving() || p.holds.has(holdLeaving) {
		return false, time.Time{}
	}
	if p.cursor.reading > 0 && p.acks.outstanding.Load() == 0 {
		p.cursor.release(p.acks.processed.Load()) // else nothing more could be fetched of it
	}
	until := p.holds.expire(now)
	if p.holds.has(holdInstance, holdDeadLetters, holdOutput) {
		return false, time.Time{}
	}
	if p.hasTask() {
		return true, time.Time{} // to be set back, or forward
	}
	if len(p.holds) > 0 || p.inst.delivery.committing() {
		return false, until
	}
	n, pending := p.cursor.waiting()
	if !pending && p.bufferedBytes == 0 && !p.notified && p.deadLetters == nil {
		return false, time.Time{}
	}
	if !t.gathers(p, n+p.buffered) {
		return true, time.Time{}
	}
	if p.gathering.IsZero() {
		p.gathering = now
	}
	when := p.gathering.Add(t.batchWait)
	ready := !when.After(now)
	if again := now.Add(gatherCheck); again.Before(when) {
		when = again
	}
	return ready, when
}

// hasTask reports whether an executor has something to do of p that is no call: output has
// failed, or dead-letter records have ended. Holds that keep calls back do not keep it back.
func (p *partition) hasTask() bool {
	return p.acks.failed.Load() > 0 || p.deadLetters != nil && p.deadLetters.ended()
}

// gathers reports whether p's next batch, of n messages so far, waits a while for more:
// only while more is on its way.
func (t *scheduler) gathers(p *partition, n int) bool {
	if n == 0 || n >= t.batch || p.repeatSize > 0 || p.suspect || p.probe || p.deadLetters != nil || p.cursor.moved != nil {
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
	if p.awaiting.Load() {
		p.holds.set(heldBy{hold: holdOutput, reason: p.awaitsFor})
	}
	if t.yields(p, acknowledged) {
		decoded = 0
	}
	t.count(p)
	t.noteRest(p, decoded)
	if p.holds.has(holdLeaving) {
		t.outages.forget(p)
		close(p.idle)
	}
	t.update(p)
	t.wake.Broadcast()
}

// yields has p give back what it holds, if it is not served for now and holds more than its
// share of what may be fetched: others could not be fetched. It is fetched again. Called
// with mu held; nobody serves p.
func (t *scheduler) yields(p *partition, acknowledged int64) bool {
	p.holds.expire(t.clock.now())
	t.holdSource(p, slices.ContainsFunc(p.holds, func(h heldBy) bool { return h.hold != holdLeaving && h.hold != holdOutput }))
	if !p.sourceHeld || p.cursor.bytes() <= t.limits.fetched/int64(max(t.served, 1)) {
		return false
	}
	gave := p.cursor.giveBack(acknowledged)
	p.notified = p.notified || gave // nothing of it may be fetched before it is served
	return gave
}

// holdSource notifies p's source whether p is paused. Called with mu held.
func (t *scheduler) holdSource(p *partition, held bool) {
	if p.sourceHeld != held && p.cursor.source != nil {
		p.sourceHeld = held
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

// hold keeps p from being served. Called with mu held.
func (t *scheduler) hold(p *partition, one heldBy) {
	p.holds.set(one)
	p.interrupt.Store(true)
	t.update(p) // it may end by itself
}

// holdFor is hold for a time.
func (t *scheduler) holdFor(p *partition, d time.Duration, one heldBy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one.until = t.clock.now().Add(d)
	t.hold(p, one)
}

// unhold ends holds of p. Called with mu held.
func (t *scheduler) unhold(p *partition, which ...hold) {
	p.holds.remove(which...)
	t.update(p)
}

// outputEnded is called when p waits for its output no longer, or its batches can be released.
func (t *scheduler) outputEnded(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !p.awaiting.Load() {
		p.holds.remove(holdOutput)
	}
	t.update(p)
}

// change runs f with the lock held.
func (t *scheduler) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

// each calls f for all partitions that are served, with the lock held.
func (t *scheduler) each(f func(*partition)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.claims {
		if p.served {
			f(p)
		}
	}
}

// all returns the partitions that are served or wait for their instance, in order of topic
// and number.
func (t *scheduler) all() []*partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*partition
	for p := range t.claims {
		if p.served || p.holds.has(holdInstance) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *partition) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), int(a.partition-b.partition))
	})
	return all
}

// setQuiet stops (or goes on) beginning calls; partitions and membership stay.
func (t *scheduler) setQuiet(quiet bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if quiet {
		t.holdAll(heldBy{hold: holdQuiet})
		return
	}
	t.holds.remove(holdQuiet)
	t.wake.Broadcast()
}

// halt begins nothing any more.
func (t *scheduler) halt() {
	t.change(func() { t.holdAll(heldBy{hold: holdLeaving}) })
}

// holdAll keeps all partitions from being served. Called with mu held.
func (t *scheduler) holdAll(one heldBy) {
	t.holds.set(one)
	for p := range t.claims {
		p.interrupt.Store(true)
	}
}

// stop ends the executors after their quanta.
func (t *scheduler) stop() {
	t.change(func() {
		t.stopped = true
		if t.timer != nil {
			t.timer.Stop()
		}
		t.outages.stop()
		t.wake.Broadcast()
	})
}

// poke leaves a note on a channel of capacity 1.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
