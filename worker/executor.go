package worker

import (
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// executor runs consumer code, one turn after the other. Its number is its slot
// of the scoreboard.
type executor struct {
	w         *worker
	t         *turns
	slot      int
	board     *scoreboard.Board
	tally     tally
	originals originals
	end       ended // how the last series of calls ended
}

// run takes turns until they are stopped, then calls done.
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
		e.turn(p, alone)
	}
}

// turn serves p.
func (e *executor) turn(p *partition, alone bool) {
	p.inst.mu.Lock()
	p.inst.producer.enter(p)
	e.end = ended{}
	began := time.Now()
	if e.w.opts.Emit != nil {
		e.w.emit(event.StartMainLoop{Consumer: e.w.reg.Name(), Group: e.w.group})
	}
	defer func() { // even when consumer code ends this goroutine
		e.originals.release()
		p.inst.producer.exit()
		p.inst.mu.Unlock()
		e.tally.flush(p, e.w.stats)
		e.settle(p, e.end)
		if e.w.opts.Emit != nil {
			e.w.emit(event.MainLoop{Consumer: e.w.reg.Name(), Group: e.w.group, Topic: p.topic, Partition: p.partition, Duration: time.Since(began)})
		}
		e.t.release(p)
	}()
	if p.attention.Load() != 0 && !e.lookUp(p) {
		return
	}
	if p.letters != nil { // their pause is over
		p.letters.send()
		return
	}
	p.awaitsAll = false
	e.w.resumed(p)
	e.survey(p)
	if p.suspect && e.w.condemned(p) || e.skipBatch(p) || !e.announce(p) {
		return
	}
	for {
		if p.at == len(p.cur) && !e.refill(p) {
			return
		}
		p.headAt.Store(p.cur[p.at].Timestamp.UnixMilli())
		if p.inst.batch != nil {
			e.callBatch(p, alone)
		} else {
			e.callEach(p, alone, began)
		}
		if e.end.failed != nil || e.end.why != wantMore || time.Since(began) >= turnTime {
			return
		}
	}
}

// ended says how a series of calls came to its end.
type ended struct {
	why    why
	failed *failedCall // the last one; nil: it went well
}

// failedCall is a call that failed, and what is done about it.
type failedCall struct {
	messages []*sarama.ConsumerMessage
	action   action
	out      []*outMessage // what it has produced for a transaction, and is kept
}

// done is how many of the last call's messages are done by it alone.
func (e ended) done(messages int) int {
	if e.failed == nil {
		return messages
	}
	if a := e.failed.action; a.step == stepDone {
		return a.done + a.messages
	}
	return e.failed.action.done
}

type why int

const (
	wantMore why = iota // the chunk is used up
	timeUp              // the next partition, please
	lookUp              // something needs attention first
	suspect             // the next message is one
)

// callEach hands the rest of the chunk to Process, one message at a time.
func (e *executor) callEach(p *partition, alone bool, began time.Time) {
	if p.msgs == nil {
		p.msgs = convertAll(p.cur)
	}
	p.msgs[p.at].Retries = p.retries()
	var (
		ctx      = p.liveContext()
		txn      = p.inst.txn
		process  = p.inst.single.Process
		observed = e.w.opts.Emit != nil
		last     = e.board.Now()
		until    = last + int64(turnTime-time.Since(began))
		inCall   = false
		inHand   = false // the board shows one of ours
	)
	defer func() {
		if inCall {
			err := broken(recover())
			now := e.observe(p, 1, last, err)
			e.failed(p, eventPanicked, err, p.cur[p.at:p.at+1])
			if observed {
				e.tellProcessed(p, time.Duration(now-last), err)
			}
		}
		if inHand {
			e.board.End(e.slot)
		}
	}()
	e.end = ended{why: wantMore}
	locks.None()
	for p.at < len(p.cur) {
		m := p.cur[p.at]
		if p.attention.Load() != 0 {
			e.end.why = lookUp
			return
		}
		if m.Offset >= p.suspectFrom && !p.suspect {
			e.end.why = suspect
			return
		}
		if txn != nil && txn.mustWait(p, m.Offset) {
			e.end.why = lookUp
			return
		}
		if e.w.opts.EmitStarts {
			e.w.emit(event.StartProcessMessage{Consumer: e.w.reg.Name(), Group: e.w.group, Message: &p.msgs[p.at]})
		}
		if inHand {
			e.board.NextAt(e.slot, m.Offset, m.Offset, last)
		} else {
			e.board.BeginAt(e.slot, p.topic, p.partition, m.Offset, m.Offset, alone, last)
			inHand = true
		}
		e.originals.note(p.cur[p.at : p.at+1])
		inCall = true
		err := process(ctx, &p.msgs[p.at])
		if err != nil {
			err = soundly(err)
		}
		inCall = false
		now := e.observe(p, 1, last, err)
		if err != nil {
			e.failed(p, eventReturned, err, p.cur[p.at:p.at+1])
		}
		if observed {
			e.tellProcessed(p, time.Duration(now-last), err)
		}
		if last = now; err != nil {
			return
		}
		if p.acks.outstanding.Load() != 0 {
			p.acks.close(m.Offset + 1)
		}
		if full := e.processed(p, p.cur[p.at:p.at+1]); full || last >= until || p.suspect {
			e.end.why = timeUp
			return
		}
	}
}

// callBatch hands up to fetch_messages messages to ProcessBatch.
func (e *executor) callBatch(p *partition, alone bool) {
	batch, why := e.collect(p)
	e.end = ended{why: why}
	if len(batch) == 0 {
		return
	}
	first, final := batch[0].Offset, batch[len(batch)-1].Offset
	messages := convertBatch(batch, p.retries())
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
			err = broken(recover())
		}
		e.board.End(e.slot)
		now := e.observe(p, len(batch), last, err)
		if err != nil {
			e.failed(p, how, err, batch)
		}
		if observed {
			e.w.emit(event.ProcessBatch{
				Consumer: e.w.reg.Name(), Group: e.w.group, Messages: reported, Duration: time.Duration(now - last), Err: err, Done: e.end.done(len(batch)),
			})
		}
		if err != nil {
			return
		}
		p.acks.close(final + 1)
		e.processed(p, batch)
	}()
	e.originals.note(batch)
	e.board.Begin(e.slot, p.topic, p.partition, first, final, alone)
	if err = p.inst.batch.ProcessBatch(p.liveContext(), messages); err != nil {
		err = soundly(err)
	}
	how = eventReturned
}

// failed decides what becomes of a call that failed, as long as what it produced can be
// told from what others produce.
func (e *executor) failed(p *partition, how eventKind, err error, messages []*sarama.ConsumerMessage) {
	e.originals.restore(messages)
	o := p.called(how, err, len(messages))
	var out []*outMessage
	if txn := p.inst.txn; txn != nil {
		out = txn.takeCall()
		o.mixed = o.batch && len(out) > 0 && len(messages) > 1
	}
	f := &failedCall{messages: messages, action: decide(o, p.retries(), &e.w.cfg)}
	e.end = ended{failed: f}
	if !f.action.keep {
		p.acks.close(again)
		p.inst.producer.gone(len(out))
		return
	}
	moved := f.action.done
	if f.action.step == stepDone || f.action.step == stepDeadLetter {
		moved += f.action.messages
	}
	p.acks.close(messages[moved-1].Offset + 1)
	f.out = out
}

// tellProcessed emits the end of a call of Process.
func (e *executor) tellProcessed(p *partition, d time.Duration, err error) {
	e.w.emit(event.ProcessMessage{Consumer: e.w.reg.Name(), Group: e.w.group, Message: &p.msgs[p.at], Duration: d, Err: err, Done: e.end.done(1)})
}

// observe counts a call with so many messages that began at last, and returns
// the time, both by the board's clock.
func (e *executor) observe(p *partition, messages int, last int64, err error) int64 {
	now := e.board.Now()
	e.tally.observe(messages, time.Duration(now-last), err != nil, p.inst.batch != nil)
	return now
}

// collect returns the messages of the next batch, which start the current chunk.
func (e *executor) collect(p *partition) ([]*sarama.ConsumerMessage, why) {
	want := e.t.batch
	switch {
	case p.suspect, p.acks.processed.Load() < p.splitTo:
		want = 1
	case p.again > 0:
		want = p.again
	}
	for len(p.cur)-p.at < want {
		chunk := e.pop(p)
		if chunk == nil {
			break
		}
		if p.at == len(p.cur) {
			p.cur = chunk
		} else {
			p.cur = append(p.cur[p.at:], chunk...)
		}
		p.at = 0
	}
	batch := p.cur[p.at:min(len(p.cur), p.at+want)]
	if txn := p.inst.txn; txn != nil && len(batch) > 0 {
		if txn.mustWait(p, batch[0].Offset) {
			return nil, lookUp
		}
		until := p.aloneUntil(batch[0].Offset)
		if i := slices.IndexFunc(batch, func(m *sarama.ConsumerMessage) bool { return m.Offset >= until }); i > 0 {
			batch = batch[:i]
		}
	}
	for i, m := range batch {
		if m.Offset < p.suspectFrom || p.suspect {
			continue
		}
		if i == 0 {
			return nil, suspect
		}
		return batch[:i], timeUp
	}
	return batch, timeUp
}

// processed moves the cursor behind messages, which start at it; true when
// nothing more is to be begun until something is acknowledged.
func (e *executor) processed(p *partition, messages []*sarama.ConsumerMessage) (full bool) {
	transacted := p.inst.txn != nil && p.inst.txn.add(p, messages)
	n := len(messages)
	p.at += n
	p.again = 0
	p.acks.processed.Store(messages[n-1].Offset + 1)
	if p.acks.outstanding.Load() != 0 || len(p.kept) > 0 {
		if e.originals.changed(messages) {
			e.originals.restore(messages)
		}
		full = e.keep(p, messages)
	}
	if e.w.cfg.SynchronousCommits {
		full = true // settle commits
	}
	return full || transacted
}

// keep holds on to messages while output of them or of earlier ones is not
// acknowledged; true when there are as many of them as may be.
func (e *executor) keep(p *partition, messages []*sarama.ConsumerMessage) bool {
	p.keep(messages)
	position := p.acks.position()
	drop := 0
	for drop < len(p.kept) && p.kept[drop].Offset < position {
		drop++
	}
	p.unkeep(drop)
	if p.inst.txn != nil && p.awaitsAll {
		return true
	}
	// The number of a transaction's messages is bounded by transactions.full.
	if e.t.kept.Load() < e.t.limits.kept() && (p.inst.txn != nil || len(p.kept) < e.w.cfg.ProduceInFlight && !p.isSingle(e.t.clock.now())) {
		return false
	}
	p.hurry() // p waits for its output
	return true
}

// refill takes the next chunk; false when there is none.
func (e *executor) refill(p *partition) bool {
	p.cur, p.at, p.msgs = nil, 0, nil
	p.cur = e.pop(p)
	return len(p.cur) > 0
}

// pop takes a chunk from the queue and sees to it that it is filled again.
func (e *executor) pop(p *partition) []*sarama.ConsumerMessage {
	t, held := e.t, p.weight()
	t.mu.Lock()
	t.hold(p, held)
	before := p.queue.bytes
	chunk := p.queue.pop()
	p.held += before - p.queue.bytes
	t.paced(p, len(chunk))
	t.replenish(p)
	return chunk
}

// rest ends a turn: what is done with is let go, and counts no more.
func (e *executor) rest(p *partition) {
	if p.at == len(p.cur) {
		p.cur, p.at, p.msgs = nil, 0, nil
	}
	held := p.weight()
	e.t.mu.Lock()
	e.t.hold(p, held)
	e.t.replenish(p)
}

// replenish has partitions fetched again for which there is room now. It is called with
// turns.mu held, and unlocks it.
func (t *turns) replenish(p *partition) {
	changed := t.ease()
	if !p.fetching && !p.retiring && t.low(p) {
		p.fetching = true
		changed = append(changed, p)
	}
	if t.bytes < t.limits.bytes {
		poke(t.drained)
	}
	t.mu.Unlock()
	t.tell(changed)
	poke(p.room)
}

// paced keeps the moving average of how fast p is processed. Called with
// turns.mu held.
func (t *turns) paced(p *partition, n int) {
	p.paceN += n
	now := time.Now()
	if p.paceAt.IsZero() {
		p.paceAt = now
		return
	}
	if d := now.Sub(p.paceAt); d >= 250*time.Millisecond {
		p.pace = (p.pace + float64(p.paceN)/d.Seconds()) / 2
		p.paceAt, p.paceN = now, 0
	}
}

// lookUp deals with what asked for attention; false when nothing may be begun.
func (e *executor) lookUp(p *partition) bool {
	a := p.attention.Load()
	if a&(attentionLeaving|attentionQuiet) != 0 {
		return false
	}
	// What has ended is dealt with whether the partition is paused or not: see
	// turns.ready, which would offer it again and again.
	if a&attentionLetters != 0 {
		e.w.lettersEnded(p)
		return false // the next turn looks anew
	}
	if a&attentionDelivery != 0 && !e.goBack(p) {
		return false
	}
	if a&attentionPaused != 0 {
		return false
	}
	p.unsignal(attentionSuspects | attentionCancelled)
	return true
}

// goBack sets p back to its oldest unacknowledged message after a delivery
// finally failed; false while others are still in flight.
func (e *executor) goBack(p *partition) bool {
	failure, flying := p.acks.state()
	if failure == nil {
		p.unsignal(attentionDelivery)
		return true
	}
	if flying > 0 {
		return false
	}
	if p.inst.txn != nil {
		p.inst.txn.restart(p)
	}
	p.letters = nil                    // those that wait are of messages that are called again now
	position, next := p.acks.restart() // the first that failed: those before it are through by now
	p.unsignal(attentionDelivery)
	drop := 0
	for drop < len(p.kept) && p.kept[drop].Offset < position {
		drop++
	}
	p.cur = append(append([]*sarama.ConsumerMessage(nil), p.kept[drop:]...), p.cur[p.at:]...)
	p.unkeep(len(p.kept))
	p.at, p.msgs, p.again = 0, nil, 0
	if p.inst.txn != nil {
		e.w.transactionAborted(p, failure)
	} else {
		e.w.outputFailed(p, failure, next)
	}
	return false // its pause comes first
}

// settle arranges what follows from a turn, still owning p.
func (e *executor) settle(p *partition, end ended) {
	e.survived(p, end.failed != nil)
	if f := end.failed; f != nil {
		p.span = p.inst.span
		e.w.carryOut(p, f.messages, f.action, f.out)
		p.span = nil
	} else if e.w.cfg.SynchronousCommits || p.isCareful(e.t.clock.now()) {
		p.m.commits.now(p)
	}
	e.survey(p)
	// Whoever waits for deliveries must not miss the last one: first say that
	// it waits, then look whether there is anything to wait for.
	if len(p.kept) > 0 || p.acks.outstanding.Load() != 0 {
		p.awaiting.Store(true)
		failure, flying := p.acks.state()
		busy := e.keep(p, nil) || failure != nil
		if !busy || flying == 0 {
			p.awaiting.Store(false)
		}
	}
	e.rest(p)
}

// survey finds the next suspect ahead.
func (e *executor) survey(p *partition) {
	p.suspectFrom = noSuspect
	next := p.acks.processed.Load()
	if p.at < len(p.cur) {
		next = p.cur[p.at].Offset
	}
	p.suspectFrom = e.w.suspects.next(p.tp, next)
	if p.isSingle(e.t.clock.now()) {
		p.suspectFrom = next
	}
	is := p.suspectFrom <= next && p.at < len(p.cur)
	if is != p.suspect {
		e.t.mu.Lock()
		p.suspect = is
		e.t.mu.Unlock()
	}
}

// convertAll makes what consumer code sees. The bytes are those of the fetch: nobody
// reuses them, but the next message follows them in memory, so each slice is clipped
// and appending to it copies.
func convertAll(cms []*sarama.ConsumerMessage) []racecar.Message {
	ms := make([]racecar.Message, len(cms))
	for i, cm := range cms {
		m := &ms[i]
		m.Topic, m.Partition, m.Offset = cm.Topic, cm.Partition, cm.Offset
		m.Key, m.Value, m.Timestamp = slices.Clip(cm.Key), slices.Clip(cm.Value), cm.Timestamp
		if len(cm.Headers) > 0 {
			m.Headers = make([]racecar.Header, len(cm.Headers))
			for j, h := range cm.Headers {
				m.Headers[j] = racecar.Header{Key: string(h.Key), Value: slices.Clip(h.Value)}
			}
		}
	}
	return ms
}

// convertBatch is convertAll for a batch, by the chunk: see chunkSize.
func convertBatch(cms []*sarama.ConsumerMessage, retries int) []*racecar.Message {
	batch := make([]*racecar.Message, 0, len(cms))
	for chunk := range slices.Chunk(cms, chunkSize) {
		ms := convertAll(chunk)
		for i := range ms {
			ms[i].Retries = retries
			batch = append(batch, &ms[i])
		}
	}
	return batch
}
