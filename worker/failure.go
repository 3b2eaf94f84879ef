package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// retryFloor is the pause where none is asked for: at once, but at most ten times
// a second.
const retryFloor = 100 * time.Millisecond

// failed decides what becomes of the messages of a call that failed. The
// executor still owns p, whose cursor is at the first of them.
func (w *worker) failed(p *partition, end ended) {
	p.msgs = nil // the call may have changed them
	p.inst.producer.forget(p)
	if cause := context.Cause(p.ctx.Load()); cause != nil {
		// We told it to give up: no failure of the message.
		w.partLog(p).WithError(end.err).WithField("cause", cause).WithField("offset", end.messages[0].Offset).Info("call cancelled")
		return
	}
	err, messages := end.err, end.messages
	if at, ok := errors.AsType[*verdict.At](err); ok && p.inst.batch != nil {
		i := min(max(at.Index, 0), len(messages)-1)
		if i > 0 {
			if p.inst.txn.mixed() {
				// Some of the output that was dropped is theirs: they are called again,
				// by themselves, and then comes the one that failed.
				p.again = i
				return
			}
			p.advance(messages[:i])
		}
		messages = messages[i : i+1] // of those behind it nothing is known: they are called again
		err = at.Err
		p.again = 0
	} else if p.inst.batch != nil {
		p.again = len(messages)
	}
	v, disposed := errors.AsType[*verdict.Error](err)
	if !disposed {
		v = &verdict.Error{Kind: verdict.Retry, After: -1, Err: err}
	}
	attempt := p.retries(messages[0].Offset) + 1
	if w.counts(err) {
		p.setAttempts(messages[0].Offset, attempt, err)
	} else {
		attempt--
		p.setAttempts(messages[0].Offset, attempt, err)
	}
	log := w.noteFailure(p, messages, err, attempt)
	switch {
	case v.Kind == verdict.Skip:
		w.stats.add(statSkipped, uint64(len(messages)))
		p.advance(messages)
		log.Warn("message skipped")
	case v.Kind == verdict.Fatal:
		log.Error("message failed for good")
		w.fatal(err)
	case v.Kind == verdict.DeadLetter:
		log.Warn("message failed, to be dead-lettered")
		w.deadLetter(p, messages, err, attempt)
	case w.cfg.MaxRetries > 0 && attempt > w.cfg.MaxRetries:
		log.Error("message failed too often, to be dead-lettered")
		w.exhausted(p, messages, err, attempt)
	default:
		pause := v.After
		if pause < 0 {
			pause = pauseFor(&w.cfg, attempt, rand.Float64)
		}
		w.pause(p, pause, err)
		if w.worthSaying(p, messages[0].Offset, pause) {
			log.WithField("pause", pauseText(pause)).Error("message failed, to be retried")
		}
		p.m.commits.soon(p)
	}
}

// doneBefore is how many messages of a batch are done though the call failed
// (racecar.FailedAt).
func doneBefore(err error) int {
	if at, ok := errors.AsType[*verdict.At](err); ok {
		return max(at.Index, 0)
	}
	return 0
}

// exhausted deals with messages whose retries are used up: a single one is
// dead-lettered, a batch is called again message by message.
func (w *worker) exhausted(p *partition, messages []*sarama.ConsumerMessage, err error, attempt int) {
	if len(messages) == 1 {
		w.deadLetter(p, messages, err, attempt)
		return
	}
	p.again = 1
	p.splitTo = messages[len(messages)-1].Offset + 1
}

// counts reports whether a failure is an attempt: not when the brokers were away.
func (w *worker) counts(err error) bool {
	d, ok := errors.AsType[*kafka.DeliveryError](err)
	return !ok || d.Refused()
}

// deliveryFailed is failed for a delivery that finally failed after its call had
// returned. p has been set back to that call's message.
func (w *worker) deliveryFailed(p *partition, err error) {
	p.inst.producer.forget(p)
	offset := p.acks.processed.Load()
	attempt := p.retries(offset)
	if w.counts(err) {
		attempt++
	}
	p.setAttempts(offset, attempt, err)
	log := w.noteFailure(p, p.cur[p.at:min(p.at+1, len(p.cur))], err, attempt)
	pause := pauseFor(&w.cfg, attempt, rand.Float64)
	w.pause(p, pause, err)
	if w.worthSaying(p, offset, pause) {
		log.WithField("pause", pauseText(pause)).Error("output not delivered, its message is processed again")
	}
	p.m.commits.soon(p)
}

// worthSaying reports whether a failure is to be logged: each is, but where a message
// is tried again ten times a second one a second will do.
func (w *worker) worthSaying(p *partition, offset int64, pause time.Duration) bool {
	now := w.turns.clock.now()
	if pause >= 0 && pause <= retryFloor && p.saidOf == offset && now.Sub(p.saidAt) < time.Second {
		return false
	}
	p.saidOf, p.saidAt = offset, now
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

// pause keeps p from being served for d (negative: until resumed).
func (w *worker) pause(p *partition, d time.Duration, err error) {
	w.stats.add(statPauses, 1)
	if d == 0 {
		d = retryFloor
	}
	w.emit(racecar.PauseStatusEvent{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Duration: d})
	w.turns.change(func() {
		p.state, p.reason = status.PartitionBackoff, oneLine(err)
		if d < 0 {
			p.forever = true
			p.state = status.PartitionPaused
			return
		}
		p.until = w.turns.clock.now().Add(d)
	})
}

// resumed notes that p is served again after a pause.
func (w *worker) resumed(p *partition) {
	w.turns.mu.Lock()
	was := p.state == status.PartitionBackoff || p.state == status.PartitionBlocked
	if was {
		p.resetBackoff()
	}
	w.turns.mu.Unlock()
	if was {
		w.emit(racecar.PauseStatusEvent{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition})
	}
}

// advance moves p's cursor behind messages that are done with.
func (p *partition) advance(messages []*sarama.ConsumerMessage) {
	if p.inst.txn != nil {
		p.inst.txn.add(p, messages)
	}
	p.moveOver(messages)
}

func (p *partition) moveOver(messages []*sarama.ConsumerMessage) {
	p.at += len(messages)
	p.again = 0
	p.acks.processed.Store(messages[len(messages)-1].Offset + 1)
	if len(p.kept) > 0 || p.acks.outstanding.Load() != 0 {
		p.kept = append(p.kept, messages...)
	}
}

func (p *partition) setAttempts(offset int64, attempts int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failedAt, p.attempts, p.lastError = offset, attempts, oneLine(err)
}

// noteFailure tells OnError and the list of problems of a failure, and returns the
// entry to log it with.
func (w *worker) noteFailure(p *partition, messages []*sarama.ConsumerMessage, err error, attempt int) *logrus.Entry {
	info := racecar.ErrorInfo{
		Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition,
		Messages: len(messages), Retries: max(0, attempt-1),
	}
	log := w.partLog(p).WithError(err).WithField("attempt", attempt)
	if len(messages) > 0 {
		info.FirstOffset, info.LastOffset = messages[0].Offset, messages[len(messages)-1].Offset
		log = log.WithField("offset", info.FirstOffset)
		if len(messages) > 1 {
			log = log.WithField("last_offset", info.LastOffset)
		}
	}
	if pe, ok := errors.AsType[*panicError](err); ok {
		info.Stack = pe.stack
		log = log.WithField("stack", pe.stack)
	}
	if _, ok := errors.AsType[*kafka.DeliveryError](err); ok {
		info.UnrecoverableDelivery = true
	}
	w.problem(p.tp, info.FirstOffset, err)
	w.onError(err, info)
	return log
}

// onError calls the user's function, containing what it does.
func (w *worker) onError(err error, info racecar.ErrorInfo) {
	if w.cfg.OnError == nil {
		return
	}
	if info.Consumer == "" {
		info.Consumer, info.Group = w.reg.Name(), w.group
	}
	if e := contained(func() error { w.cfg.OnError(context.Background(), err, info); return nil }); e != nil {
		w.log.WithError(e).Error("OnError panicked")
	}
}
