package worker

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/calllog"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/worker/lanes"
)

// laneCall is a call of messages in lanes, and what came of it.
type laneCall struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	acks     acks     // its output
	sums     []uint64 // of the records as they were handed over
	settling int      // so many messages at the head are done once the output is acknowledged
	disposed []any    // what is done then with the last ones of those
	returned atomic.Bool
	settled  atomic.Bool

	deadLetter *deadLetter // on its way, in place of a call
	err        error       // of that
}

// call calls the consumer with the messages of a task.
func (r *laneRunner) call(e *executor, task *laneTask) {
	c, first := &task.call, task.messages[0]
	defer c.cancel(nil)
	if first.Disposal != nil {
		r.sendDeadLetter(task)
		return
	}
	if task.isolated && (r.poisoned(task) || !r.announce(task)) {
		return
	}
	if first.Attempts > 0 {
		r.w.emit(event.PauseStatus{Consumer: r.w.reg.Name(), Group: r.w.group, Topic: r.p.topic, Partition: r.p.partition})
	}
	c.acks.notify = func() { r.settle(task) }
	e.inst.mu.Lock()
	e.inst.producer.enter(&c.acks)
	records := make([]racecar.Message, len(task.messages))
	offsets := make([]int64, len(records))
	for i, m := range task.messages {
		records[i], offsets[i] = *m.Record, m.Offset
		records[i].Retries = m.Attempts
		c.sums = append(c.sums, r.sumOf(m.Record))
	}
	messages := span{first: offsets[0], next: offsets[len(offsets)-1] + 1, n: len(offsets), offsets: offsets}
	err, how := error(nil), eventPanicked
	began := e.board.Now()
	defer func() {
		if how == eventPanicked {
			err = newPanicError(recover())
		}
		e.board.End(e.slot)
		d := time.Duration(e.recordCall(r.p, messages.n, began, err) - began)
		if e.tally.flush(r.p, r.w.stats); err == nil {
			r.w.callSucceeded()
		}
		a := r.decide(task, how, err, messages)
		r.ended(e, records, d, err, a)
		e.inst.producer.exit()
		traced := e.inst.span
		e.inst.mu.Unlock()
		r.returned(task, messages, a, traced)
	}()
	e.board.Begin(e.slot, r.p.topic, r.p.partition, messages.first, messages.next-1, task.isolated)
	err = r.process(e, c.ctx, records)
	how = eventReturned
}

// process calls Process or ProcessBatch.
func (r *laneRunner) process(e *executor, ctx context.Context, records []racecar.Message) error {
	var err error
	parent := &calllog.Parent{Context: ctx, Logger: r.w.slog, Tracer: r.w.opts.Tracer}
	if e.inst.batch == nil {
		if r.w.opts.EmitStarts {
			r.w.emit(event.StartProcessMessage{Consumer: r.w.reg.Name(), Group: r.w.group, Message: &records[0]})
		}
		calls := calllog.NewCalls(parent, records)
		locks.None()
		err = e.inst.single.Process(calls.Next(), &records[0])
	} else {
		messages := pointers(records)
		if r.w.opts.EmitStarts {
			r.w.emit(event.StartProcessBatch{Consumer: r.w.reg.Name(), Group: r.w.group, Messages: pointers(records)})
		}
		locks.None()
		err = e.inst.batch.ProcessBatch(calllog.NewBatch(parent, messages), messages)
	}
	if err != nil {
		err = usableError(err)
	}
	return err
}

func pointers(records []racecar.Message) []*racecar.Message {
	messages := make([]*racecar.Message, len(records))
	for i := range records {
		messages[i] = &records[i]
	}
	return messages
}

// ended emits the end of a call.
func (r *laneRunner) ended(e *executor, records []racecar.Message, d time.Duration, err error, a action) {
	if r.w.opts.Emit == nil {
		return
	}
	done := a.done
	if a.step == stepDone {
		done += a.messages
	}
	if e.inst.batch == nil {
		r.w.emit(event.ProcessMessage{Consumer: r.w.reg.Name(), Group: r.w.group, Message: &records[0], Duration: d, Err: err, Done: done})
		return
	}
	r.w.emit(event.ProcessBatch{Consumer: r.w.reg.Name(), Group: r.w.group, Messages: pointers(records), Duration: d, Err: err, Done: done})
}

// decide decides what becomes of the messages, as long as what the call produced can be
// told from what others produce.
func (r *laneRunner) decide(task *laneTask, how eventKind, err error, messages span) action {
	c := &task.call
	o := r.outcome(task, how, err, messages.n)
	a := decide(o, task.messages[0].Attempts, &r.w.cfg)
	if !a.keep {
		c.acks.drop()
		return a
	}
	c.settling = a.done
	if a.step == stepDone || a.step == stepDeadLetter {
		c.settling += a.messages
	}
	c.acks.close(messages.slice(0, c.settling), 0)
	return a
}

// outcome returns the outcome of a call in lanes.
func (r *laneRunner) outcome(task *laneTask, how eventKind, err error, messages int) outcome {
	o := outcome{event: how, err: err, messages: messages, batch: r.p.inst.batch != nil}
	for _, m := range task.messages[:messages] {
		o.attempts = append(o.attempts, m.Attempts)
	}
	switch cause := context.Cause(task.call.ctx); {
	case r.p.lost():
		o.interrupted = cancelled
	case errors.Is(cause, errOverdue):
		o.interrupted = overdue
	case cause != nil:
		o.interrupted = cancelled
	case r.p.isLeaving():
		o.interrupted = leavingClosed
	}
	return o
}

// returned carries out what was decided about a call.
func (r *laneRunner) returned(task *laneTask, messages span, a action, traced context.Context) {
	c := &task.call
	if a.err != nil {
		r.p.count(r.w.stats, uint64(a.done))
		rest := task.messages[a.done:]
		r.forgetChanged(rest, c.sums[a.done:])
		r.carryOut(task, rest, messages.slice(a.done, messages.n), a, traced)
	}
	r.t.change(func() { r.unsettled++ })
	c.returned.Store(true)
	r.settle(task)
	if !c.settled.Load() && r.eager() {
		r.p.inst.delivery.sendOutput(r.p)
	}
	careful := r.survived(a.err != nil, task.isolated)
	if a.err == nil && (r.w.cfg.SynchronousCommits || careful) {
		r.p.inst.delivery.commitSync(r.p)
	}
}

// eager reports whether somebody waits for output to be acknowledged.
func (r *laneRunner) eager() bool {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	return r.lanes.Ready() == 0 || r.unsettled >= r.w.cfg.ProduceInFlight || r.single
}

// settle ends a call whose output is acknowledged, or has failed with nothing of it on its
// way any more. It is called by the executor and by the producer, and acts once.
func (r *laneRunner) settle(task *laneTask) {
	c := &task.call
	if !c.returned.Load() {
		return
	}
	failure, flying := c.acks.state()
	if failure != nil && flying > 0 || failure == nil && c.acks.outstanding.Load() > 0 || !c.settled.CompareAndSwap(false, true) {
		return
	}
	r.t.change(func() {
		defer poke(r.p.settled)
		if r.over {
			return
		}
		if failure != nil {
			c.err = failure
			r.due = append(r.due, task)
			r.t.update(r.p)
			return
		}
		r.unsettled--
		for i, m := range task.messages[:c.settling] {
			if n := i - c.settling + len(c.disposed); n >= 0 {
				m.Disposal, m.Single = c.disposed[n], true
				r.lanes.Return(m)
			} else {
				r.lanes.Finish(m)
			}
		}
		r.update()
	})
}

// forgetChanged has records fetched again that consumer code has changed.
func (r *laneRunner) forgetChanged(messages []*lanes.Message, sums []uint64) {
	var changed []*lanes.Message
	for i, m := range messages {
		if m.Record != nil && r.sumOf(m.Record) != sums[i] {
			changed = append(changed, m)
		}
	}
	if len(changed) == 0 {
		return
	}
	r.t.change(func() {
		for _, m := range changed {
			r.lanes.Forget(m)
		}
	})
}

// sumOf tells whether a record was changed.
func (r *laneRunner) sumOf(m *racecar.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.Write(m.Key)
	_, _ = h.Write(m.Value)
	for i := range m.Headers {
		_, _ = h.WriteString(m.Headers[i].Key)
		_, _ = h.Write(m.Headers[i].Value)
	}
	return h.Sum64()
}
