package worker

import (
	"context"
	"hash/maphash"
	"slices"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/worker/lanes"
)

// laneRunner runs messages of different keys of a partition at the same time (ordering key
// and none). Each executor has one message in hand, or one batch, or reads the partition's
// log; package lanes decides which messages may begin.
type laneRunner struct {
	p *partition
	w *worker
	t *scheduler

	// Guarded by scheduler.mu.
	lanes     *lanes.Partition
	begun     []*laneTask            // for executors that are about to run them
	calls     map[*laneTask]struct{} // in hand
	due       []*laneTask            // output failed, or a dead-letter record has ended
	executors int
	reading   bool // one of them reads the log
	unsettled int  // tasks that wait for acknowledgements
	single    bool // messages are called alone, the oldest one only: see unfinished
	jumping   bool // the log continues elsewhere, once nothing is in hand
	over      bool
	limit     int // characters of the metadata of a commit

	singleUntil time.Time // when single ends without a further call: the oldest message may wait for ever; zero: it does not

	awaitLogged time.Time // when an unavailable dependency was logged last

	fullLogged int64 // of the message whose full window was logged last, its offset and 1
	seed       maphash.Seed
}

// laneTask is what an executor does of a partition: messages that it has in hand, or
// reading. With due it deals with what came of their output.
type laneTask struct {
	messages []*lanes.Message
	reads    bool
	due      bool
	isolated bool // nothing runs beside it
	call     laneCall
}

// newLanesBudget bounds what the records of all partitions take that wait.
func newLanesBudget(c *config.Config) *lanes.Budget {
	return &lanes.Budget{Limit: int64(max(c.MaxBytes, 1<<20)) / 2}
}

// inLanes reports whether messages of different keys run at the same time.
func (w *worker) inLanes() bool {
	return w.cfg.Ordering == config.OrderingKey || w.cfg.Ordering == config.OrderingNone
}

// runInLanes has p run in lanes from offset on. found is what its last owner left.
func (p *partition) runInLanes(offset int64, found offsetmap.Metadata) {
	w := p.m.w
	r := &laneRunner{p: p, w: w, t: w.scheduler, calls: map[*laneTask]struct{}{}, limit: maxMetadata, seed: maphash.MakeSeed()}
	r.single = p.isSingle(w.scheduler.clock.now())
	r.lanes = lanes.New(r.options(), offset, found.Finished, found.Failing)
	p.lanes, p.runner = r, r
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setFinished(nil) // the lanes have it
}

func (r *laneRunner) options() lanes.Options {
	return lanes.Options{
		Keyed: r.w.cfg.Ordering == config.OrderingKey, Limit: r.limit,
		Held: int64(max(r.w.cfg.MaxBytes, 1<<20)) / 16, Shared: r.w.lanesBudget,
	}
}

// ready implements runner.
func (r *laneRunner) ready(t *scheduler, now time.Time) (bool, time.Time) {
	p := r.p
	if r.over || p.isLeaving() || p.holds.has(holdLeaving) {
		return false, time.Time{}
	}
	until := p.holds.expire(now)
	if len(r.due) > 0 {
		p.suspect = false
		return true, time.Time{}
	}
	if n := len(p.holds); n > 1 || n == 1 && !p.holds.has(holdCorrupt) {
		return false, until
	}
	if r.single && !r.singleUntil.IsZero() && !now.Before(r.singleUntil) {
		r.single = false
	}
	m := r.next(now)
	if m != nil {
		when := r.gathers(m, now)
		if !when.After(now) || r.mayRead() {
			return true, time.Time{}
		}
		return false, when
	}
	if r.mayRead() {
		return true, time.Time{}
	}
	when := r.lanes.Due()
	if r.single && !r.singleUntil.IsZero() && (when.IsZero() || r.singleUntil.Before(when)) {
		when = r.singleUntil
	}
	return false, when
}

// next returns the message that begins next, and notes whether it is a suspect.
func (r *laneRunner) next(now time.Time) *lanes.Message {
	r.p.suspect = false
	m := r.lanes.Peek(now) // in any case: it ends the pauses that are over, else ready would name a time that has passed
	if r.jumping || r.unsettled >= r.w.cfg.ProduceInFlight {
		return nil
	}
	if m == nil || r.single && m != r.lanes.First() {
		return nil
	}
	r.p.suspect = r.single || r.w.suspects.next(r.p.topicPartition, m.Offset) == m.Offset
	return m
}

// gathers returns until when the batch that m begins waits for more; a time that has
// passed: it does not.
func (r *laneRunner) gathers(m *lanes.Message, now time.Time) time.Time {
	if r.t.batch == 0 || m.Failing() || m.Single || r.p.suspect || r.reading || !r.t.gathers(r.p, r.lanes.Ready()+r.p.buffered) {
		return time.Time{}
	}
	if r.p.gathering.IsZero() {
		r.p.gathering = now
	}
	return r.p.gathering.Add(r.t.batchWait)
}

// desired is how many messages should be able to begin.
func (r *laneRunner) desired() int { return max(r.t.concurrency, r.t.batch) }

// mayRead reports whether an executor may read the log, and has a reason to.
func (r *laneRunner) mayRead() bool {
	switch {
	case r.reading, r.p.holds.has(holdCorrupt):
		return false
	case r.jumping:
		return r.lanes.InHand() == 0
	}
	if _, missing := r.lanes.Missing(); missing {
		return true
	}
	if !r.lanes.ReadingAgain() && !r.lanes.Wants(r.desired()) {
		return false
	}
	_, pending := r.p.cursor.waiting()
	return pending || r.p.bufferedBytes > 0 || r.p.notified
}

// begin implements runner.
func (r *laneRunner) begin(t *scheduler) {
	p, now := r.p, t.clock.now()
	p.busy = true
	r.executors++
	task := &laneTask{}
	r.begun = append(r.begun, task)
	if len(r.due) > 0 {
		task, r.begun[len(r.begun)-1] = r.due[0], r.due[0]
		r.due = r.due[1:]
		task.due = true
		return
	}
	m := r.next(now)
	switch {
	case m == nil, r.gathers(m, now).After(now):
		task.reads, r.reading = true, true
		p.suspect, p.notified = false, false
		t.forgetRest(p)
		t.holdSource(p, false)
	case t.batch > 0 && !p.suspect:
		task.messages = r.lanes.Batch(now, t.batch, r.w.suspects.next(p.topicPartition, m.Offset))
		p.gathering = time.Time{}
	default:
		task.isolated = p.suspect
		task.messages = append(task.messages, r.lanes.Next(now))
	}
}

// run implements runner.
func (r *laneRunner) run(e *executor, _ bool) {
	r.t.mu.Lock()
	task := r.begun[0]
	r.begun = r.begun[1:]
	if len(task.messages) > 0 && !task.due {
		task.call.ctx, task.call.cancel = context.WithCancelCause(r.p.ctx.Load())
		r.calls[task] = struct{}{}
	}
	r.t.mu.Unlock()
	defer r.release(task) // even when consumer code ends this goroutine
	switch {
	case task.due:
		r.dealWith(task)
	case task.reads:
		r.read()
	default:
		r.call(e, task)
	}
}

// release ends a task for its executor.
func (r *laneRunner) release(task *laneTask) {
	p, t := r.p, r.t
	decoded := int64(0)
	if task.reads {
		decoded = p.cursor.decoded()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(r.calls, task)
	if task.reads {
		r.reading = false
		t.noteRest(p, decoded)
	}
	r.executors--
	p.busy = r.executors > 0
	t.busy--
	if task.isolated && !task.due {
		t.isolated = false
		t.wake.Broadcast()
	}
	t.count(p)
	t.holdSource(p, !p.busy && slices.ContainsFunc(p.holds, func(h heldBy) bool { return h.hold != holdLeaving }))
	if p.holds.has(holdLeaving) && !p.busy {
		close(p.idle)
	}
	r.update()
	if t.busy == 0 {
		t.wake.Broadcast() // a suspect may wait for that
	}
}

// update brings up to date what others see of the lanes. Called with scheduler.mu held.
func (r *laneRunner) update() {
	p := r.p
	p.acks.processed.Store(r.lanes.Offset())
	p.beyond.Store(r.lanes.FinishedBeyond())
	head := int64(0)
	if m := r.lanes.First(); m != nil && m.Record != nil {
		head = m.Record.Timestamp.UnixMilli()
	}
	p.headAt.Store(head)
	r.t.update(p)
}

// read adds messages of the log to the lanes. The executor alone has the cursor.
func (r *laneRunner) read() {
	p, c := r.p, &r.p.cursor
	if c.corrupt != nil { // an operator has resumed the partition
		r.w.leaveCorrupt(p)
	}
	r.t.mu.Lock()
	offset, again := r.lanes.Missing()
	if again = again && c.moved == nil; again {
		r.lanes.ReadAgain()
	}
	r.t.mu.Unlock()
	if again {
		c.rewind(offset)
	}
	for began := time.Now(); time.Since(began) < quantum; {
		messages := c.peek(1)
		if len(messages) == 0 {
			r.readToEnd()
			return
		}
		n := 0
		r.t.mu.Lock()
		for n < len(messages) && (r.lanes.ReadingAgain() || r.lanes.Wants(r.desired())) {
			r.lanes.Add(&messages[n])
			n++
		}
		r.update()
		r.t.mu.Unlock()
		c.done(n)
		next, _ := c.exhausted()
		if c.index < len(c.chunk) {
			next = c.chunk[c.index].Offset
		}
		if c.release(next); n < len(messages) {
			return
		}
	}
}

// readToEnd deals with what is there besides messages.
func (r *laneRunner) readToEnd() {
	p, c := r.p, &r.p.cursor
	if position, exhausted := c.exhausted(); exhausted {
		p.moveTo(position)
		c.release(position)
	}
	switch {
	case c.corrupt != nil:
		r.w.undecodable(p, c.corrupt)
	case c.moved != nil:
		r.jump()
	}
}

// moveTo notes that there is nothing else below offset.
func (r *laneRunner) moveTo(offset int64) {
	r.t.mu.Lock()
	before, none := r.lanes.Offset(), r.lanes.First() == nil
	r.lanes.Read(offset)
	after := r.lanes.Offset()
	r.update()
	r.t.mu.Unlock()
	if none && after > before {
		r.p.mu.Lock()
		defer r.p.mu.Unlock()
		r.p.unfinished.moved(before, after)
	}
}

// jump follows the log to where it continues. What it holds there is not what was known,
// unless retention has deleted the beginning. A log that was truncated still has what comes
// before: what is not finished of that is fetched again.
func (r *laneRunner) jump() {
	p := r.p
	moved := *p.cursor.moved
	if moved.Reason != fetch.LogStartMoved {
		r.t.mu.Lock()
		waits := r.lanes.InHand() > 0
		r.jumping = waits
		r.t.mu.Unlock()
		if waits {
			return
		}
	}
	p.cursor.jump()
	p.m.gap(p, moved.From, moved.To)
	from := moved.To
	p.mu.Lock() // no commit has the topic's id with the map of another one
	r.t.mu.Lock()
	p.topicID = moved.TopicID
	p.epoch.Store(0)
	if moved.Reason == fetch.LogStartMoved {
		r.lanes.Read(moved.To)
	} else {
		from = r.restart(moved)
	}
	r.update()
	r.t.mu.Unlock()
	p.mu.Unlock()
	if from < moved.To {
		p.cursor.rewind(from)
	}
	p.inst.delivery.commitAsync(p)
}

// restart has the lanes know nothing of the log from where it has moved to. It returns the
// offset from which the log is read. Called with scheduler.mu held.
func (r *laneRunner) restart(moved fetch.Moved) (from int64) {
	from = moved.To
	var known offsetmap.Metadata
	if moved.Reason == fetch.Truncated {
		var offset int64
		offset, known.Finished, known.Failing = r.lanes.Commit()
		from = min(offset, moved.To)
	}
	r.lanes.Close()
	failing := slices.DeleteFunc(known.Failing, func(f offsetmap.Failing) bool { return f.Offset >= moved.To })
	r.lanes = lanes.New(r.options(), from, known.Finished.Between(from, moved.To), failing)
	return from
}

// resume ends all waits. Called with scheduler.mu held.
func (r *laneRunner) resume() {
	for _, m := range r.lanes.Resume() {
		if wait, _ := m.Wait(); wait.Poisoned {
			m.RetryOnce = true
		}
	}
	r.t.update(r.p)
}

// cancel cancels the calls in hand that which selects. Called with scheduler.mu held.
func (r *laneRunner) cancel(cause error, which func(first int64) bool) {
	for task := range r.calls {
		if which(task.messages[0].Offset) {
			task.call.cancel(cause)
		}
	}
}

// close ends the lanes. Called with scheduler.mu held.
func (r *laneRunner) close() {
	if !r.over {
		r.over = true
		r.lanes.Close()
	}
}

// waitingFor returns the tasks to be dealt with, and whether others wait for acknowledgements.
func (r *laneRunner) waitingFor() (due []*laneTask, waits bool) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	due, r.due = slices.Clone(r.due), nil
	return due, r.unsettled > 0
}
