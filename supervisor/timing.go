package supervisor

import (
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// checkReady notes once that the supervisor is ready: all workers are up. One that
// still crashes is waited for until readyBy; then one worker of each consumer suffices.
// A consumer that has stopped permanently is not waited for, but when all have, the
// supervisor is never ready: checkEnd ends it with the reason.
func (r *registry) checkReady() {
	if r.ready || r.ending != nil {
		return
	}
	late, some := !r.now.Before(r.readyBy()), false
	for _, c := range r.consumers {
		if c.fatal != "" {
			continue
		}
		some = true
		if up, missing := c.up(); missing > 0 && (up == 0 || !late) {
			return
		}
	}
	if some {
		r.ready = true
		r.do(doReady{})
	}
}

// up counts the workers that are up, and those that are to be and are not.
func (c *consumer) up() (up, missing int) {
	for _, s := range c.slots {
		switch {
		case s.up():
			up++
		case s.wanted:
			missing++
		}
	}
	return up, missing
}

// up says that the slot's process has told of a state it is in once it has started.
func (s *slot) up() bool {
	if s.cur == nil {
		return false
	}
	switch s.cur.frame.State {
	case status.Waiting, status.Joining, status.Running, status.Quiet:
		return true
	}
	return false
}

// readyBy is until when readiness waits for workers that still crash.
func (r *registry) readyBy() time.Time {
	var longest time.Duration
	for _, c := range r.consumers {
		longest = max(longest, c.rel.config().WorkerBootTimeout)
	}
	return r.started.Add(longest)
}

// due does what has become due. It is called after each event.
func (r *registry) due(now time.Time) {
	r.now = now
	for s := range r.slots() {
		if s.cur == nil && s.wanted && !s.restartAt.IsZero() && !now.Before(s.restartAt) {
			r.start(s, s.rel)
		}
	}
	r.overdueStops()
	for p := range r.procs() {
		r.climb(p)
	}
	r.rollOverdue()
	r.checkReady()
	if r.ending != nil {
		r.checkEnd()
	}
}

// next is when due has something to do again; zero: not before another event.
func (r *registry) next() time.Time {
	var next time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for s := range r.slots() {
		if s.cur == nil && s.wanted {
			at(s.restartAt)
		}
	}
	for p := range r.procs() {
		if p.ladder == nil {
			if !p.finished || r.ending.exiting {
				at(p.killAt)
			}
		} else if len(p.ladder.rungs) > 0 {
			at(p.ladder.at)
		}
	}
	if ro := r.roll; ro != nil && ro.failed == "" && ro.cur != nil && ro.cur.wanted {
		at(ro.by)
	}
	if !r.ready && r.ending == nil && r.now.Before(r.readyBy()) {
		at(r.readyBy())
	}
	if r.ending != nil && r.ending.leaving && !r.ending.exiting {
		at(r.ending.leaveBy)
	}
	return next
}

// slept says that the supervisor itself did not run for d: nobody is to blame
// for silence in that time.
func (r *registry) slept(d time.Duration) {
	if ro := r.roll; ro != nil && !ro.by.IsZero() {
		ro.by, ro.latest = ro.by.Add(d), ro.latest.Add(d)
	}
	for p := range r.procs() {
		p.heard = p.heard.Add(d)
		p.greeted = p.greeted.Add(d)
		if !p.killAt.IsZero() {
			p.killAt = p.killAt.Add(d)
		}
		if p.ladder != nil {
			p.ladder.at = p.ladder.at.Add(d)
		}
		if p.frame.State == status.Joining || p.frame.State == status.Starting {
			p.since = p.since.Add(d)
		}
	}
}
