package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// This file handles a failed call: what is decided about it, its pause, its reports.

// retryFloor is the pause where none is asked for: at once, but at most ten times
// a second.
const retryFloor = 100 * time.Millisecond

// carryOut does what was decided about a call at p's cursor. The executor owns p.
func (w *worker) carryOut(p *partition, call span, a action, out []*outMessage) {
	if a.done > 0 {
		p.advance(call.slice(0, a.done), nil)
	}
	call = call.slice(a.done, a.done+a.messages)
	p.repeatSize = a.size
	if !a.report {
		if a.step == stepAgain && a.size == 0 {
			w.partLog(p).WithError(bounded(a.err)).WithField("cause", context.Cause(p.ctx.Load())).Info("call ended early")
		}
		return
	}
	p.noteFailure(a)
	if a.step == stepAwait {
		w.unavailable(p, call, a)
		return
	}
	log := w.noteFailure(p, call, a.err, a.attempts)
	switch a.step {
	case stepDone:
		w.stats.Add(scoreboard.Skipped, uint64(call.n))
		p.advance(call, out)
		log.Warn("message skipped")
	case stepFatal:
		log.Error("message failed for good")
		w.fatal(a.err)
	case stepDeadLetter:
		if a.usedUp && w.holdsDeadLetter(p, call, a) {
			return
		}
		log.WithField("poison", a.poison).Error("message failed, to be dead-lettered")
		w.deadLetter(p, call, a.err, a.attempts, out)
	case stepSplit:
		log.Error("batch failed too often, its messages are handed over one by one")
		p.splitTo = call.next
	case stepHold:
		log.Error("message is poison, its partition is paused: resume it to retry, or set dead_letter_topic")
		w.scheduler.change(func() { w.scheduler.hold(p, heldBy{hold: holdPoisoned, reason: oneLine(a.err)}) })
	case stepRetry:
		w.retry(p, log, a)
	}
}

// retry pauses p, whose messages are then handed over again.
func (w *worker) retry(p *partition, log *logrus.Entry, a action) {
	pause := a.pause
	if pause < 0 {
		pause = pauseFor(&w.cfg, a.attempts, rand.Float64)
	}
	w.pause(p, holdBackoff, pause, a.err)
	if w.shouldLog(p, p.acks.processed.Load(), pause) {
		message := "message failed, to be retried"
		if a.noTopic {
			message = "message cannot be dead-lettered because no dead_letter_topic is configured: it is retried instead"
		}
		log.WithField("pause", pauseText(pause)).Error(message)
	}
	p.inst.delivery.commitAsync(p)
}

// called returns the outcome of a call of p's instance.
func (p *partition) called(event eventKind, err error, messages int) outcome {
	o := outcome{
		event: event, err: err, messages: messages,
		batch: p.inst.batch != nil, transactional: !p.inst.delivery.loopCommits(),
	}
	switch cause := context.Cause(p.ctx.Load()); {
	case p.lost():
		o.interrupted = cancelled
	case errors.Is(cause, errOverdue):
		o.interrupted = overdue
	case cause != nil:
		o.interrupted = cancelled
	case p.isLeaving():
		o.interrupted = leavingClosed
	}
	return o
}

// shouldLog reports whether to log a failure: always, except that a message which is
// retried ten times a second is logged once a second.
func (w *worker) shouldLog(p *partition, offset int64, pause time.Duration) bool {
	now := w.scheduler.clock.now()
	if pause >= 0 && pause <= retryFloor && p.loggedOf == offset && now.Sub(p.loggedAt) < time.Second {
		return false
	}
	p.loggedOf, p.loggedAt = offset, now
	return true
}

// pauseFor is how long to wait after so many failed attempts; negative: until
// resumed by hand. Only an exponential pause is spread at random, by ±
// pause_jitter.
func pauseFor(c *config.Config, attempts int, random func() float64) time.Duration {
	if c.PauseTimeout == config.PauseForever {
		return config.PauseForever
	}
	pause := c.PauseTimeout
	if c.PauseWithExponentialBackoff {
		for i := 1; i < attempts && pause < 1<<40; i++ {
			pause *= 2
		}
		if c.MaxPauseTimeout > 0 {
			pause = min(pause, c.MaxPauseTimeout)
		}
		pause += time.Duration(float64(pause) * c.PauseJitter * (2*random() - 1))
		if c.MaxPauseTimeout > 0 {
			pause = min(pause, c.MaxPauseTimeout)
		}
	}
	return pause
}

// pauseText is a pause as the log has it.
func pauseText(d time.Duration) string {
	switch {
	case d < 0:
		return "until resumed"
	case d == 0:
		d = retryFloor
	}
	return d.Round(time.Millisecond).String()
}

// pause keeps p from being served for d (negative: until resumed). The executor owns p.
func (w *worker) pause(p *partition, kind hold, d time.Duration, err error) {
	w.stats.Add(scoreboard.Pauses, 1)
	if d == 0 {
		d = retryFloor
	}
	w.emit(event.PauseStatus{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Duration: d})
	p.paused = true
	if d < 0 {
		w.scheduler.change(func() { w.scheduler.hold(p, heldBy{hold: holdPaused, reason: oneLine(err)}) })
		return
	}
	w.scheduler.holdFor(p, d, heldBy{hold: kind, reason: oneLine(err)})
}

// resumed notes that p is served again after a pause.
func (w *worker) resumed(p *partition) {
	if p.paused {
		p.paused = false
		w.emit(event.PauseStatus{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition})
	}
}

// advance moves p's cursor behind messages that are done with; out is what their call
// produced for a transaction.
func (p *partition) advance(call span, out []*outMessage) {
	p.inst.delivery.add(p, call, out)
	p.moveOver(call)
}

func (p *partition) moveOver(call span) {
	p.count(p.m.w.stats, uint64(call.n))
	p.cursor.advance(call.next)
	p.repeatSize = 0
	p.processed += int64(call.n)
	p.acks.processed.Store(call.next)
}

// noteFailure keeps why the messages at p's position failed, and how often.
func (p *partition) noteFailure(a action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastError = oneLine(a.err)
	if a.remember {
		p.failedAt, p.attempts = p.acks.processed.Load(), a.attempts
	}
}

// noteFailure reports a failure to OnError and in the list of problems, and returns the
// entry to log it with.
func (w *worker) noteFailure(p *partition, call span, err error, attempt int) *logrus.Entry {
	var first *racecar.Message
	if call.n > 0 {
		first = p.messageAt(call.first)
	}
	return w.logFailure(p, call, first, err, attempt, p.span)
}

// logFailure is noteFailure for a call that traced belongs to; nil: none does. first is its
// first message; nil: it has to be fetched again.
func (w *worker) logFailure(p *partition, call span, first *racecar.Message, err error, attempt int, traced context.Context) *logrus.Entry {
	info := racecar.ErrorInfo{
		Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition,
		Messages: call.n, Retries: max(0, attempt-1), Attempt: attempt,
	}
	ctx := w.opts.base()
	if traced != nil {
		ctx = context.WithoutCancel(traced) // the call may have been cancelled, its report is not
	}
	log := w.partLog(p).WithContext(ctx).WithError(bounded(err)).WithField("attempt", attempt)
	if call.n > 0 {
		info.Offset, info.FirstOffset, info.LastOffset = call.first, call.first, call.next-1
		if first != nil {
			info.Key, info.Headers = first.Key, first.Headers
		}
		log = log.WithField("offset", info.FirstOffset)
		if call.n > 1 {
			log = log.WithField("last_offset", info.LastOffset)
		}
	}
	if pe, ok := errors.AsType[*panicError](err); ok {
		info.Stack = pe.stack
		log = log.WithField("stack", pe.stack)
	}
	if _, ok := errors.AsType[*producer.DeliveryError](err); ok {
		info.UnrecoverableDelivery = true
	}
	w.problem(p.topicPartition, info.FirstOffset, err)
	w.onError(ctx, err, info)
	return log
}

// messageAt returns the message at an offset that is dealt with, nil if it has to be
// fetched again.
func (p *partition) messageAt(offset int64) *racecar.Message {
	if p.failing != nil {
		return p.failing
	}
	if next := p.cursor.chunk[p.cursor.index:]; len(next) > 0 && next[0].Offset == offset {
		return &next[0]
	}
	return nil
}

// onError calls the user's function, containing what it does. ctx carries the span of
// the call that failed, if one did.
func (w *worker) onError(ctx context.Context, err error, info racecar.ErrorInfo) {
	if w.cfg.OnError == nil {
		return
	}
	if info.Consumer == "" {
		info.Consumer, info.Group = w.reg.Name(), w.group
	}
	if e := w.withWatchdog("OnError", func() error { w.cfg.OnError(ctx, err, info); return nil }); e != nil {
		w.log.WithError(bounded(e)).Error("OnError panicked")
	}
}
