package worker

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/config"
)

// deadLetterLimitName names the outage of a worker whose messages all fail.
const deadLetterLimitName = "dead_letter_limit"

// limitPeriod is the time in which dead letters are counted.
const limitPeriod = time.Minute

// manyDeadLetters within limitPeriod without a success are worth a line in the log.
const manyDeadLetters = 100

// defaultDeadLetterHold stands in for dead_letter_hold in a configuration that was not loaded.
const defaultDeadLetterHold = 15 * time.Minute

// deadLetterLimit counts messages whose retries are used up while no call of the worker
// succeeds: it is more likely that something they need is unavailable than that all of them
// are at fault.
type deadLetterLimit struct {
	limit int           // dead_letter_limit; 0: nothing is held
	hold  time.Duration // dead_letter_hold

	counting atomic.Bool // times is not empty, or something is held

	mu     sync.Mutex
	times  []time.Time // since the last success, the oldest first
	logged time.Time
}

func newDeadLetterLimit(c *config.Config) *deadLetterLimit {
	return &deadLetterLimit{limit: c.DeadLetterLimit, hold: cmp.Or(c.DeadLetterHold, defaultDeadLetterHold)}
}

// add counts a message. It reports whether there are more than the limit, and whether there
// are so many that the log has to say it.
func (l *deadLetterLimit) add(now time.Time) (exceeded, shouldLog bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting.Store(true)
	l.times = slices.DeleteFunc(append(l.times, now), func(t time.Time) bool { return now.Sub(t) >= limitPeriod })
	if most := max(l.limit+1, manyDeadLetters); len(l.times) > most {
		l.times = slices.Delete(l.times, 0, len(l.times)-most)
	}
	if shouldLog = len(l.times) >= manyDeadLetters && now.Sub(l.logged) >= limitPeriod; shouldLog {
		l.logged = now
	}
	return l.limit > 0 && len(l.times) > l.limit, shouldLog
}

// succeeded notes that a call of the worker succeeded; true if something may be held.
func (l *deadLetterLimit) succeeded() bool {
	if !l.counting.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting.Store(false)
	l.times = nil
	return l.limit > 0
}

// holdsDeadLetter holds p instead of dead-lettering its message, whose retries are used up,
// while so many fail that an outage is likely. The executor owns p.
func (w *worker) holdsDeadLetter(p *partition, call span, a action) bool {
	now := w.scheduler.clock.now()
	again := p.limitedAt == call.first && !p.limitedUntil.IsZero()
	if !again || !w.deadLetterLimit.counting.Load() { // a call has succeeded since it was held
		exceeded, shouldLog := w.deadLetterLimit.add(now)
		if shouldLog {
			w.log.WithField("messages", manyDeadLetters).
				Warn("messages use up their retries and no call succeeds: if a dependency is unavailable, racecar.Unavailable holds them instead of dead-lettering them")
		}
		if !exceeded {
			p.limitedUntil = time.Time{}
			return false
		}
		if !again {
			p.limitedAt, p.limitedUntil = call.first, now.Add(w.deadLetterLimit.hold)
		}
	}
	if !now.Before(p.limitedUntil) {
		p.limitedUntil = time.Time{}
		return false
	}
	report := false
	w.scheduler.change(func() {
		o := w.scheduler.outages
		report = o.set.ReportLocal(now, p, deadLetterLimitName, oneLine(a.err), p.limitedUntil)
		o.errs[deadLetterLimitName] = a.err
		o.update()
	})
	if report {
		w.partLog(p).WithError(bounded(a.err)).WithField("offset", call.first).WithField("dead_letter_hold", w.deadLetterLimit.hold.String()).
			Warn("more messages than dead_letter_limit used up their retries and no call succeeds: an outage is suspected, and the next message is held")
	}
	return true
}

// callSucceeded ends what dead_letter_limit holds.
func (w *worker) callSucceeded() {
	if !w.deadLetterLimit.succeeded() {
		return
	}
	w.scheduler.change(func() {
		w.scheduler.outages.set.StopLocal(w.scheduler.clock.now(), deadLetterLimitName)
		w.scheduler.outages.update()
	})
	w.outagesChanged()
}
