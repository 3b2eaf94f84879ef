// Package outage has the arithmetic of outages that supervisor and workers share: when the
// next probe of an unavailable dependency is due, and whether a report begins an outage or
// continues the one before. It has no clock: each method is told the time.
package outage

import "time"

// MaxNames is how many dependencies of one consumer are told apart; further ones count as "".
const MaxNames = 16

// FirstPause is the pause before the first probe, if the longest pause allows it.
const FirstPause = time.Second

// ReleaseTime is how long it takes until everything that an outage held is served again:
// a dependency that has just come back does not get it all at once.
const ReleaseTime = time.Second

// jitter is how much of a pause is random, in both directions.
const jitter = 0.1

// Pauses are the pauses between the probes of one dependency. The zero value is a
// dependency that was never unavailable. It is not safe for concurrent use.
type Pauses struct {
	since time.Time     // when the outage began; zero: there was none
	ended time.Time     // zero: it goes on
	pause time.Duration // before the next probe that no author asked for, without jitter
	last  time.Duration // the newest pause
	next  time.Time     // when the next probe is due
}

// Active reports whether the dependency is unavailable.
func (p *Pauses) Active() bool { return !p.since.IsZero() && p.ended.IsZero() }

// Since returns when the outage began; zero without one.
func (p *Pauses) Since() time.Time {
	if !p.Active() {
		return time.Time{}
	}
	return p.since
}

// Next returns when the next probe is due.
func (p *Pauses) Next() time.Time { return p.next }

// Pause returns the newest pause.
func (p *Pauses) Pause() time.Duration { return p.last }

// Report notes a report of a call that was no probe. asked is the pause that its author
// asked for (negative: none), longest is outage_max_pause, random is in [0, 1). It returns
// true if the report begins an outage. A report within twice the newest pause after an
// outage continues it, with the pause it had.
func (p *Pauses) Report(now time.Time, asked, longest time.Duration, random float64) (began bool) {
	if p.Active() {
		return false
	}
	if p.since.IsZero() || now.Sub(p.ended) > 2*p.last {
		began = true
		p.since, p.pause = now, min(FirstPause, longest)
	}
	p.ended = time.Time{}
	p.wait(now, asked, random)
	return began
}

// Unavailable notes a probe that found the dependency unavailable: the pause doubles, unless
// the author asked for another one.
func (p *Pauses) Unavailable(now time.Time, asked, longest time.Duration, random float64) {
	if asked < 0 {
		p.pause = min(2*p.pause, longest)
	}
	p.wait(now, asked, random)
}

// Failed notes a probe that failed in another way, which says nothing about the dependency:
// the next one is due after the same pause.
func (p *Pauses) Failed(now time.Time, random float64) { p.wait(now, -1, random) }

// Returned notes a probe that did not take place: the next one is due at once.
func (p *Pauses) Returned(now time.Time) { p.next = now }

// Stop notes the end of the outage: a probe succeeded, or nothing is held for it any more.
func (p *Pauses) Stop(now time.Time) {
	if p.Active() {
		p.ended = now
	}
}

func (p *Pauses) wait(now time.Time, asked time.Duration, random float64) {
	if p.last = asked; asked < 0 {
		p.last = p.pause + time.Duration(float64(p.pause)*jitter*(2*random-1))
	}
	p.next = now.Add(p.last)
}
