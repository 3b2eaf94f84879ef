package worker

import (
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/calllog"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// executor runs consumer code, one quantum after the other. Its number is its slot of the
// scoreboard.
type executor struct {
	w       *worker
	t       *scheduler
	slot    int
	inst    *instance // with lanes: the one it calls
	board   *scoreboard.Board
	tally   tally
	end     runResult // how the last series of calls ended
	offsets []int64   // of the batch in hand
	calls   int       // of this quantum
}

// run serves partitions until the scheduler is stopped, then calls done.
func (e *executor) run(done func()) {
	stopped := false
	defer func() {
		if stopped {
			done()
		} else {
			go e.run(done) // consumer code called runtime.Goexit
		}
	}()
	for {
		p, alone := e.t.take()
		if p == nil {
			stopped = true
			return
		}
		p.runner.run(e, alone)
	}
}

// serve runs calls of p for a quantum.
func (e *executor) serve(p *partition, alone bool) {
	p.inst.mu.Lock()
	p.inst.delivery.enter(p)
	e.end, e.calls = runResult{}, 0
	began := time.Now()
	if e.w.opts.Emit != nil {
		e.w.emit(event.StartMainLoop{Consumer: e.w.reg.Name(), Group: e.w.group})
	}
	defer func() { // even when consumer code ends this goroutine
		p.inst.delivery.exit()
		p.inst.mu.Unlock()
		succeeded := e.tally.messages > 0
		e.tally.flush(p, e.w.stats)
		if succeeded {
			e.w.callSucceeded()
		}
		outage := p.probing || e.end.foundUnavailable()
		e.settle(p, e.end)
		if e.w.opts.Emit != nil {
			e.w.emit(event.MainLoop{Consumer: e.w.reg.Name(), Group: e.w.group, Topic: p.topic, Partition: p.partition, Duration: time.Since(began)})
		}
		e.t.release(p)
		if outage {
			e.w.outagesChanged()
		}
	}()
	if e.doTask(p) {
		return
	}
	p.awaitsAll, p.awaitsFor = false, ""
	e.w.resumed(p)
	if !e.loaded(p) {
		return
	}
	if p.undisposed != nil {
		p.undisposed.begin()
		return
	}
	e.findSuspect(p)
	if p.suspect && (!alone || e.w.poisoned(p)) || !e.announce(p) {
		return // a suspect that was only just found gets a quantum alone
	}
	for e.loaded(p) {
		if p.inst.batch != nil {
			e.callBatch(p, alone)
		} else {
			e.callEach(p, alone, began)
		}
		if e.end.failed != nil || e.end.reason != wantMore || time.Since(began) >= quantum {
			return
		}
	}
}

// loaded reports whether there is a message to be called. If there is none, the position
// moves over what is not for consumers.
func (e *executor) loaded(p *partition) bool {
	c := &p.cursor
	if c.corrupt != nil { // an operator has resumed the partition
		e.w.leaveCorrupt(p)
	}
	messages := c.peek(1)
	if c.reading > 0 {
		c.release(p.acks.position())
	}
	if len(messages) > 0 {
		p.headAt.Store(messages[0].Timestamp.UnixMilli())
		return true
	}
	if position, exhausted := c.exhausted(); exhausted {
		p.moveTo(position)
	}
	switch {
	case c.corrupt != nil:
		e.w.undecodable(p, c.corrupt)
	case c.moved != nil:
		e.w.jumped(p)
	}
	return false
}

// runResult says why a series of calls stopped.
type runResult struct {
	reason stopReason
	failed *failedCall // the last one; nil: it went well
}

// failedCall is a call that failed, and what is done about it.
type failedCall struct {
	messages span
	action   action
	out      []*outMessage    // what it has produced for a transaction, and is kept
	message  *racecar.Message // the one that failed, or the first of those that did
}

// span is messages of a partition that follow each other.
type span struct {
	first   int64   // offset of the first one
	next    int64   // behind the last one
	n       int     // how many
	offsets []int64 // of each; nil: not known, or there is one
}

// slice returns the messages from number i on, below number j.
func (s span) slice(i, j int) span {
	part := span{first: s.first, next: s.next, n: j - i}
	if i > 0 {
		part.first = s.offsets[i]
	}
	if j < s.n {
		part.next = part.first
		if j > 0 {
			part.next = s.offsets[j-1] + 1
		}
	}
	if s.offsets != nil {
		part.offsets = s.offsets[i:j]
	}
	return part
}

// foundUnavailable reports whether the last call found a dependency unavailable.
func (e runResult) foundUnavailable() bool {
	return e.failed != nil && e.failed.action.step == stepAwait
}

// done is how many of the last call's messages are done by it alone.
func (e runResult) done(messages int) int {
	if e.failed == nil {
		return messages
	}
	if a := e.failed.action; a.step == stepDone {
		return a.done + a.messages
	}
	return e.failed.action.done
}

type stopReason int

const (
	wantMore    stopReason = iota // the chunk is used up
	timeUp                        // the quantum is over
	interrupted                   // something comes first
	atSuspect                     // the next message is one
)

// callEach hands the rest of the chunk to Process, one message at a time.
func (e *executor) callEach(p *partition, alone bool, began time.Time) {
	messages := p.cursor.peek(1)
	messages[0].Retries = p.retries()
	var (
		calls   = calllog.NewCalls(p.liveContext(), messages)
		process = p.inst.single.Process
		last    = e.board.Now()
		until   = last + int64(quantum-time.Since(began))
		inCall  = false
		inHand  = false // the board shows one of ours
		m       *racecar.Message
		call    span
	)
	defer func() {
		if inCall {
			err := newPanicError(recover())
			e.callEnded(p, eventPanicked, err, m, call, time.Duration(e.recordCall(p, 1, last, err)-last))
		}
		if inHand {
			e.board.End(e.slot)
		}
	}()
	e.end = runResult{reason: wantMore}
	locks.None()
	for i := range messages {
		m = &messages[i]
		call = span{first: m.Offset, next: m.Offset + 1, n: 1} // consumer code may write into m
		if e.stopsBefore(p, call.first) {
			return
		}
		if e.w.opts.EmitStarts {
			e.w.emit(event.StartProcessMessage{Consumer: e.w.reg.Name(), Group: e.w.group, Message: m})
		}
		if inHand {
			e.board.NextAt(e.slot, call.first, call.first, last)
		} else {
			e.board.BeginAt(e.slot, p.topic, p.partition, call.first, call.first, alone, last)
			inHand = true
		}
		inCall = true
		err := process(calls.Next(), m)
		if err != nil {
			err = usableError(err)
		}
		inCall = false
		now := e.recordCall(p, 1, last, err)
		e.callEnded(p, eventReturned, err, m, call, time.Duration(now-last))
		if last = now; err != nil {
			return
		}
		if full := e.processed(p, call); full || last >= until || p.suspect || p.probing {
			e.end.reason = timeUp
			return
		}
	}
}

// callBatch hands up to fetch_messages messages to ProcessBatch.
func (e *executor) callBatch(p *partition, alone bool) {
	batch, why := e.collect(p)
	e.end = runResult{reason: why}
	if len(batch) == 0 {
		return
	}
	e.offsets = e.offsets[:0]
	messages := make([]*racecar.Message, len(batch))
	retries := p.retries()
	for i := range batch {
		batch[i].Retries = retries
		messages[i] = &batch[i]
		e.offsets = append(e.offsets, batch[i].Offset)
	}
	final := e.offsets[len(batch)-1]
	call := span{first: e.offsets[0], next: final + 1, n: len(batch), offsets: e.offsets}
	last := e.board.Now()
	observed, reported := e.w.opts.Emit != nil, messages
	if observed {
		reported = slices.Clone(messages) // the consumer may sort or clear its slice
	}
	if e.w.opts.EmitStarts {
		e.w.emit(event.StartProcessBatch{Consumer: e.w.reg.Name(), Group: e.w.group, Messages: reported})
	}
	err, how := error(nil), eventPanicked
	locks.None()
	defer func() {
		if how == eventPanicked {
			err = newPanicError(recover())
		}
		e.board.End(e.slot)
		now := e.recordCall(p, call.n, last, err)
		if err != nil {
			e.failed(p, how, err, call)
		}
		if observed {
			e.w.emit(event.ProcessBatch{
				Consumer: e.w.reg.Name(), Group: e.w.group, Messages: reported, Duration: time.Duration(now - last), Err: err, Done: e.end.done(call.n),
			})
		}
		if err == nil {
			e.processed(p, call)
		}
	}()
	e.board.Begin(e.slot, p.topic, p.partition, call.first, final, alone)
	if err = p.inst.batch.ProcessBatch(calllog.NewBatch(p.liveContext(), messages), messages); err != nil {
		err = usableError(err)
	}
	how = eventReturned
}

// failed decides what becomes of a call that failed, as long as what it produced can be
// told from what others produce.
func (e *executor) failed(p *partition, how eventKind, err error, call span) {
	handed := p.cursor.chunk[p.cursor.index:]
	p.cursor.rewind(call.first)
	o := p.called(how, err, call.n)
	out := p.inst.delivery.takeOutput()
	o.mixed = o.batch && len(out) > 0 && call.n > 1
	f := &failedCall{messages: call, action: decide(o, p.retries(), &e.w.cfg)}
	f.message = &handed[min(f.action.done, call.n-1)]
	e.end = runResult{failed: f}
	if !f.action.keep {
		p.acks.drop()
		p.inst.producer.gone(len(out))
		return
	}
	moved := f.action.done
	if f.action.step == stepDone || f.action.step == stepDeadLetter {
		moved += f.action.messages
	}
	p.acks.close(call.slice(0, moved), p.processed)
	f.out = out
}

// callEnded deals with the failure of a call of Process, if it has failed, and emits its end.
func (e *executor) callEnded(p *partition, how eventKind, err error, m *racecar.Message, call span, d time.Duration) {
	if err != nil {
		e.failed(p, how, err, call)
	}
	if e.w.opts.Emit != nil {
		e.w.emit(event.ProcessMessage{Consumer: e.w.reg.Name(), Group: e.w.group, Message: m, Duration: d, Err: err, Done: e.end.done(1)})
	}
}

// stopsBefore reports whether the message at offset is not called now, and why.
func (e *executor) stopsBefore(p *partition, offset int64) bool {
	switch {
	case p.interrupt.Load():
		e.end.reason = interrupted
	case offset >= p.suspectFrom && !p.suspect:
		e.end.reason = atSuspect
	case p.inst.delivery.mustWait(p, offset):
		e.end.reason = interrupted
	default:
		return false
	}
	return true
}

// recordCall counts a call with so many messages that began at last, and returns
// the time, both by the board's clock.
func (e *executor) recordCall(p *partition, messages int, last int64, err error) int64 {
	now := e.board.Now()
	e.calls++
	e.tally.observe(messages, time.Duration(now-last), err != nil, p.inst.batch != nil)
	return now
}

// collect returns the messages of the next batch.
func (e *executor) collect(p *partition) ([]racecar.Message, stopReason) {
	want := e.t.batch
	switch {
	case p.suspect, p.probing, p.acks.processed.Load() < p.splitTo:
		want = 1
	case p.repeatSize > 0:
		want = p.repeatSize
	}
	batch := p.cursor.peek(want)
	batch = batch[:min(len(batch), want)]
	if p.inst.delivery.mustWait(p, batch[0].Offset) {
		return nil, interrupted
	}
	batch = below(batch, p.isolatedUntil(batch[0].Offset), 1)
	if !p.suspect {
		if batch[0].Offset >= p.suspectFrom {
			return nil, atSuspect
		}
		batch = below(batch, p.suspectFrom, 0)
	}
	return batch, timeUp
}

// below returns the messages below offset, but at least the first few.
func below(messages []racecar.Message, offset int64, least int) []racecar.Message {
	n := len(messages)
	for n > least && messages[n-1].Offset >= offset {
		n--
	}
	return messages[:n]
}

// processed moves the cursor behind a call's messages; true when the executor must begin
// nothing more until something is acknowledged.
func (e *executor) processed(p *partition, call span) (full bool) {
	transacted := p.inst.delivery.add(p, call, p.inst.delivery.takeOutput())
	p.cursor.done(call.n)
	p.repeatSize = 0
	outstanding := p.acks.outstanding.Load() != 0
	if outstanding {
		p.acks.close(call, p.processed)
		outstanding = p.acks.outstanding.Load() != 0
	}
	p.processed += int64(call.n)
	p.acks.processed.Store(call.next)
	if outstanding {
		full = e.waits(p)
	}
	if e.w.cfg.SynchronousCommits {
		full = true // settle commits
	}
	return full || transacted
}

// waits reports whether p begins nothing more until output is acknowledged: as much waits
// for that as may.
func (e *executor) waits(p *partition) bool {
	if p.awaitsAll {
		return true
	}
	if p.inst.delivery.hasRoom(p) && e.t.unacknowledged.Load() < e.t.limits.unacknowledged {
		return false
	}
	p.inst.delivery.sendOutput(p) // p waits for it
	return true
}

// doTask does what comes before the next call, if there is something.
func (e *executor) doTask(p *partition) bool {
	d := p.deadLetters
	switch {
	case d != nil && !d.waiting:
		e.w.deadLettersEnded(p)
	case p.acks.failed.Load() > 0:
		e.goBack(p)
	case d != nil: // their pause is over
		d.send()
	default:
		return false
	}
	return true
}

// goBack sets p back to its oldest unacknowledged message after a delivery failed
// permanently, once no other is in flight. The pause of that message comes first then.
func (e *executor) goBack(p *partition) {
	failure, flying := p.acks.state()
	if failure == nil || flying > 0 {
		return
	}
	if d := p.undisposed; d != nil {
		p.inst.producer.gone(len(d.out))
	}
	// The cursor finds an undecodable batch again.
	e.t.change(func() { p.holds.remove(holdCorrupt, holdRefused); p.skipBatch = false })
	p.deadLetters, p.undisposed = nil, nil // of messages that are called again now
	call := p.acks.restart()               // the first that failed: those before it are through by now
	p.cursor.rewind(call.first)
	p.repeatSize = 0
	p.inst.delivery.outputFailed(p, failure, call)
}

// settle arranges what follows from a quantum, still owning p.
func (e *executor) settle(p *partition, end runResult) {
	e.survived(p, end.failed != nil)
	if f := end.failed; f != nil {
		p.span, p.failing = p.inst.span, f.message
		e.w.carryOut(p, f.messages, f.action, f.out)
		p.span, p.failing = nil, nil
	} else if e.w.cfg.SynchronousCommits || p.isCareful(e.t.clock.now()) {
		p.inst.delivery.commitSync(p)
	}
	if p.probing {
		e.w.probed(p, e.calls > 0, end.failed)
	}
	e.findSuspect(p)
	// Whoever waits for deliveries must not miss the last one: first say that
	// it waits, then check whether there is anything to wait for.
	if p.acks.outstanding.Load() != 0 {
		p.awaiting.Store(true)
		failure, flying := p.acks.state()
		busy := e.waits(p) || failure != nil
		if !busy || flying == 0 {
			p.awaiting.Store(false)
		}
	}
	if p.cursor.source != nil {
		p.cursor.release(p.acks.position())
	}
}

// findSuspect finds the next suspect ahead.
func (e *executor) findSuspect(p *partition) {
	next := p.acks.processed.Load()
	messages := p.cursor.chunk[p.cursor.index:]
	if len(messages) > 0 {
		next = messages[0].Offset
	}
	p.suspectFrom = e.w.suspects.next(p.topicPartition, next)
	if p.isSingle(e.t.clock.now()) {
		p.suspectFrom = next
	}
	is := p.suspectFrom <= next && len(messages) > 0
	if is != p.suspect {
		e.t.mu.Lock()
		p.suspect = is
		e.t.mu.Unlock()
	}
}
