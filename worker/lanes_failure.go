package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/worker/lanes"
)

// carryOut does what was decided about messages that are in hand. The first ones of call
// are what a is about; those behind them are called again.
func (r *laneRunner) carryOut(task *laneTask, messages []*lanes.Message, call span, a action, traced context.Context) {
	w, p := r.w, r.p
	failed, others := messages[:a.messages], messages[a.messages:]
	defer r.t.change(func() {
		for _, m := range others {
			r.lanes.Return(m)
		}
		r.update()
	})
	if !a.report {
		w.partLog(p).WithError(bounded(a.err)).WithField("cause", context.Cause(task.call.ctx)).Info("call ended early")
		r.t.change(func() {
			for _, m := range failed {
				r.lanes.Return(m)
			}
		})
		return
	}
	p.mu.Lock()
	p.lastError = oneLine(a.err)
	p.mu.Unlock()
	call = call.slice(0, a.messages)
	if a.step == stepAwait {
		r.await(failed, call, a, traced)
		return
	}
	log := w.logFailure(p, call, failed[0].Record, a.err, a.attempts, traced)
	if a.remember && a.attempts > failed[0].Attempts {
		r.t.change(func() {
			for _, m := range failed {
				m.Attempts++
			}
		})
	}
	switch a.step {
	case stepDone: // settle does the rest
		w.stats.Add(scoreboard.Skipped, uint64(call.n))
		p.count(w.stats, uint64(call.n))
		log.Warn("message skipped")
	case stepFatal:
		log.Error("message failed for good")
		r.fail(failed, lanes.Wait{Reason: oneLine(a.err)}, false)
		w.fatal(a.err)
	case stepDeadLetter:
		if a.usedUp && r.holdsDeadLetter(failed[0]) {
			task.call.settling = a.done // not the message that is called again
			r.retry(failed, a, func(string, time.Duration) {})
			return
		}
		log.WithField("poison", a.poison).Error("message failed, to be dead-lettered")
		r.dispose(task, failed, a)
	case stepSplit:
		log.Error("batch failed too often, its messages are handed over one by one")
		r.t.change(func() {
			for _, m := range failed {
				m.Single = true
				r.lanes.Return(m)
			}
		})
	case stepHold:
		log.Error("message is poison, its key is paused: resume its partition to retry, or set dead_letter_topic")
		r.fail(failed, lanes.Wait{Poisoned: true, Reason: oneLine(a.err)}, false)
	case stepRetry:
		r.retry(failed, a, func(message string, pause time.Duration) {
			log.WithField("pause", pauseText(pause)).Error(message)
		})
	}
}

// await has messages wait for a dependency that is unavailable, without counting an
// attempt. Each key asks for it by itself, at growing intervals.
func (r *laneRunner) await(messages []*lanes.Message, call span, a action, traced context.Context) {
	now, pause := r.t.clock.now(), a.pause
	for _, m := range messages {
		m.Awaits++
	}
	if pause < 0 {
		pause = min(time.Second<<min(messages[0].Awaits-1, 10), r.w.outageOptions().Longest)
		pause += time.Duration(float64(pause) * 0.2 * (2*rand.Float64() - 1))
	}
	r.t.mu.Lock()
	report := now.Sub(r.awaitLogged) >= loggedEvery
	if report {
		r.awaitLogged = now
	}
	r.t.mu.Unlock()
	if report {
		r.w.logFailure(r.p, call, messages[0].Record, a.err, a.attempts+1, traced).WithField("dependency", a.needs).
			Warn("a dependency is unavailable: the keys of messages that need it wait, without counting attempts")
	}
	r.fail(messages, lanes.Wait{Until: now.Add(max(pause, retryFloor)), Reason: "waiting for " + named(a.needs) + ": " + oneLine(a.err)}, len(messages) > 1)
}

// holdsDeadLetter reports whether a message whose retries are used up is retried instead of
// dead-lettered, because so many fail that an outage is likely.
func (r *laneRunner) holdsDeadLetter(m *lanes.Message) bool {
	l, now := r.w.deadLetterLimit, r.t.clock.now()
	if m.Limited.IsZero() {
		if exceeded, _ := l.add(now); !exceeded {
			return false
		}
		m.Limited = now.Add(l.hold)
		r.w.partLog(r.p).WithField("offset", m.Offset).WithField("dead_letter_hold", l.hold.String()).
			Warn("more messages than dead_letter_limit used up their retries and no call succeeds: an outage is suspected, and the message is retried")
		return true
	}
	return now.Before(m.Limited) && l.counting.Load()
}

// fail has messages wait with their keys.
func (r *laneRunner) fail(messages []*lanes.Message, wait lanes.Wait, whole bool) {
	r.t.change(func() {
		wait.Since = r.t.clock.now()
		r.lanes.Fail(messages, wait, whole)
	})
}

// retry pauses the keys of messages, which are then handed over again.
func (r *laneRunner) retry(messages []*lanes.Message, a action, log func(message string, pause time.Duration)) {
	w := r.w
	pause := a.pause
	if pause < 0 {
		pause = pauseFor(&w.cfg, a.attempts, rand.Float64)
	}
	w.stats.Add(scoreboard.Pauses, 1)
	if pause == 0 {
		pause = retryFloor
	}
	w.emit(event.PauseStatus{Consumer: w.reg.Name(), Group: w.group, Topic: r.p.topic, Partition: r.p.partition, Duration: pause})
	wait, now := lanes.Wait{Reason: oneLine(a.err)}, r.t.clock.now()
	if pause > 0 {
		wait.Until = now.Add(pause)
	}
	if m := messages[0]; pause < 0 || pause > retryFloor || now.Sub(m.LoggedAt) >= time.Second {
		m.LoggedAt = now
		message := "message failed, to be retried"
		if a.noTopic {
			message = "message cannot be dead-lettered because no dead_letter_topic is configured: it is retried instead"
		}
		log(message, pause)
	}
	r.fail(messages, wait, a.size > 1)
	r.p.m.commits.commitAfterFailure(r.p)
}

// dispose has messages go to the dead-letter topic: once the output of their call is
// acknowledged, if that is kept.
func (r *laneRunner) dispose(task *laneTask, messages []*lanes.Message, a action) {
	var all []any
	for _, m := range messages {
		all = append(all, &deadLetters{
			w: r.w, p: r.p, topic: r.w.cfg.DeadLetterTopic, cause: a.err, attempts: a.attempts, call: span{first: m.Offset, next: m.Offset + 1, n: 1},
		})
	}
	if a.keep {
		task.call.disposed = all
		return
	}
	r.t.change(func() {
		for i, m := range messages {
			m.Disposal, m.Single = all[i], true
			r.lanes.Return(m)
		}
	})
}

// sendDeadLetter sends a message to the dead-letter topic, in place of a call.
func (r *laneRunner) sendDeadLetter(task *laneTask) {
	m := task.messages[0]
	d := m.Disposal.(*deadLetters) //nolint:forcetypeassert // dispose sets nothing else
	if r.w.liesThere(r.p, m.Record) {
		r.p.count(r.w.stats, 1)
		r.t.change(func() { r.lanes.Finish(m); r.update() })
		return
	}
	if len(d.records) == 0 {
		d.records = []*deadLetter{{keyed: m.Record.Key == nil && r.w.compacted.Load()}}
	}
	task.call.deadLetter = d.records[0]
	task.call.deadLetter.message = m.Record
	r.t.change(func() { r.unsettled++ })
	r.send(task, d)
}

func (r *laneRunner) send(task *laneTask, d *deadLetters) {
	slow := r.t.clock.after(deadLetterSlow, func() {
		r.w.partLog(r.p).WithField("offset", d.call.first).WithField("dead_letter_topic", d.topic).
			Warn("the dead-letter topic does not take the message: its key waits for it")
	})
	ended := func(err error) {
		slow.Stop()
		r.t.change(func() {
			task.call.err = err
			r.due = append(r.due, task)
			r.t.update(r.p)
			poke(r.p.settled)
		})
	}
	go func() { // Send may wait for room; the executor may not
		t, err := r.w.transport()
		if err == nil {
			err = t.Send(context.Background(), r.w.record(d, task.call.deadLetter), func(_ int32, _ int64, err error) { ended(err) })
		}
		if err != nil {
			ended(err)
			return
		}
		t.SkipLinger()
	}()
}

// dealWith deals with output that could not be delivered, or with what became of a
// dead-letter record.
func (r *laneRunner) dealWith(task *laneTask) {
	c := &task.call
	if c.deadLetter != nil {
		r.deadLetterSettled(task)
		return
	}
	r.t.change(func() { r.unsettled-- })
	if c.settling == 0 {
		return // a goroutine that a failed call left behind has produced this: its messages are called again already
	}
	failure := c.err
	c.acks.restart()
	messages := task.messages[:c.settling]
	how := eventOutputUndelivered
	if isAttempt(failure) {
		how = eventOutputRefused
	}
	c.settling, c.disposed = 0, nil
	offsets := make([]int64, len(messages))
	for i, m := range messages {
		offsets[i] = m.Offset
	}
	r.forgetChanged(messages, c.sums)
	o := r.outcome(task, how, failure, len(messages))
	call := span{first: offsets[0], next: offsets[len(offsets)-1] + 1, n: len(offsets), offsets: offsets}
	a := decide(o, messages[0].Attempts, &r.w.cfg)
	a.keep = false // it has failed
	r.carryOut(task, messages, call, a, nil)
}

// deadLetterSettled deals with a dead-letter record that is acknowledged, or failed: that is sent
// again, after a pause or changed so that its topic takes it.
func (r *laneRunner) deadLetterSettled(task *laneTask) {
	m, record := task.messages[0], task.call.deadLetter
	d := m.Disposal.(*deadLetters) //nolint:forcetypeassert // dispose sets nothing else
	if record.err = task.call.err; record.err == nil {
		d.report()
		r.p.count(r.w.stats, 1)
		r.t.change(func() { r.unsettled--; r.lanes.Finish(m); r.update() })
		r.p.m.commits.commitAfterFailure(r.p)
		return
	}
	a := decide(d.outcome(record), d.attempts, &r.w.cfg)
	switch a.step {
	case stepTruncate, stepKey:
		record.truncated, record.keyed = record.truncated || a.step == stepTruncate, record.keyed || a.step == stepKey
		r.w.partLog(r.p).WithError(bounded(a.err)).WithField("offset", m.Offset).
			Warn("the dead-letter topic does not take the record as it is: it is sent without its value, or with a key")
		r.send(task, d)
		return
	default:
	}
	pause := max(time.Second, pauseFor(&r.w.cfg, 1, func() float64 { return 0.5 }))
	if a.step == stepBlock {
		pause = blockedPause
	}
	reason := fmt.Errorf("the dead-letter topic %s does not take the message: %w", d.topic, record.err)
	r.w.partLog(r.p).WithError(bounded(reason)).WithField("offset", m.Offset).WithField("pause", pauseText(pause)).
		Error("dead letter not delivered, to be sent again after the pause, or when its partition is resumed")
	r.w.problem(r.p.topicPartition, m.Offset, reason)
	r.t.change(func() {
		r.unsettled--
		now := r.t.clock.now()
		r.lanes.Fail(task.messages, lanes.Wait{Since: now, Until: now.Add(pause), Reason: oneLine(reason)}, false)
		r.update()
	})
}

// poisoned deals with a message that has killed its process too often; false when it has not.
func (r *laneRunner) poisoned(task *laneTask) bool {
	w, p, m := r.w, r.p, task.messages[0]
	s := w.suspects.poisoned(p.topicPartition, m.Offset)
	if s == nil {
		s = p.poisonedAt(m.Offset)
	}
	if s == nil || m.RetryOnce {
		return false
	}
	w.emit(event.Poisoned{
		Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Offset: s.FirstOffset, Deaths: s.Deaths, Reason: s.Reason,
	})
	err := fmt.Errorf("the message killed its process %d times, last: %s", s.Deaths, s.Reason)
	o := outcome{event: eventDied, err: err, messages: 1, batch: p.inst.batch != nil, deaths: s.Deaths}
	a := decide(o, m.Attempts, &w.cfg)
	a.keep = false
	r.carryOut(task, task.messages, span{first: m.Offset, next: m.Offset + 1, n: 1}, a, nil)
	r.survivedPoison()
	return true
}

// announce counts a message at its position before it is called alone; see unfinished. It
// is false when the count is not committed, and the message waits.
func (r *laneRunner) announce(task *laneTask) bool {
	p := r.p
	r.t.mu.Lock()
	single := r.single
	r.t.mu.Unlock()
	if !single {
		return true
	}
	p.setIsolated(task.messages[0].Offset)
	if p.confirmed(p.commitPoint()) {
		return true
	}
	err := p.m.commits.flush(p.untilLeaving(), p)
	if _, refused := errors.AsType[*refusedError](err); refused || err == nil {
		return true // a commit that is refused holds up nobody
	}
	r.t.change(func() { r.lanes.Return(task.messages[0]); r.update() })
	r.t.holdFor(p, time.Second, heldBy{hold: holdBackoff, reason: "the count of unfinished claims is not committed: " + oneLine(err)})
	return false
}

// survived notes that the process has outlived a call, and reports whether positions are
// committed after each.
func (r *laneRunner) survived(failed, isolated bool) (careful bool) {
	p, now := r.p, r.t.clock.now()
	careful, single, until := p.survivedCall(failed, now, r.w.cfg.OffsetCommitInterval)
	if isolated {
		r.t.change(func() { r.single, r.singleUntil = single, until; r.t.update(p) })
	}
	return careful
}

// survivedPoison ends the careful time, if the message is found that it was about. Else
// messages are called alone for a while: the poisoned one may wait for ever.
func (r *laneRunner) survivedPoison() { r.survived(true, true) }
