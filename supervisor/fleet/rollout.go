package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// A rollout (a rolling restart) takes slots to another release one by one. Each new
// process is started beforehand, constructs its consumer and stands by, so that a
// consumer that cannot be constructed costs nothing, and a slot's partitions stand still
// only from the old process's last commit to the new one's join. A slot whose new process
// does not come to run goes back to what it ran before, and the rollout ends there; slots
// before it stay with the new release.
type rollout struct {
	ref     uint64
	targets map[*consumer]*release
	queue   []*slot
	current *slot
	added   bool // current had not run before
	// wasRunning: the process before did not wait for a broker, so the new one may not.
	wasRunning bool
	timed      *proc     // the process that due is for
	due        time.Time // when it has to run
	latest     time.Time // due does not move beyond
	failure    string    // current goes back, then the rollout ends with this
	done       int
	total      int
}

var (
	// ErrNothingChanged refuses a Rollout with IfChanged.
	ErrNothingChanged = errors.New("neither image nor configuration changed")
	// ErrStopping refuses what begins something during a shutdown.
	ErrStopping = errors.New("racecar is stopping")
	// ErrRolledBack is in the error of a rollout that went back.
	ErrRolledBack = errors.New("the rolling restart was stopped, and this worker goes on with what ran before")

	errRolling = errors.New("a rolling restart is under way")
)

func (e Rollout) apply(f *Fleet) {
	if err := f.beginRollout(e); err != nil {
		f.answer(e.Ref, err)
		f.closeUnused(e.Image)
	}
}

func (f *Fleet) beginRollout(e Rollout) error {
	switch {
	case f.shutdown != nil:
		return ErrStopping
	case f.rollout != nil:
		return errRolling
	}
	ro := &rollout{ref: e.Ref, targets: map[*consumer]*release{}}
	added, err := f.chooseTargets(ro, e)
	if err != nil {
		return err
	}
	for _, rel := range added {
		ro.setTarget(f, f.add(rel), rel)
	}
	f.rollout = ro
	for _, c := range f.consumers {
		if rel := ro.targets[c]; rel != nil {
			f.releases = max(f.releases, rel.number)
			f.enqueue(c, rel, e.IfChanged)
		}
	}
	ro.total = len(ro.queue)
	f.log(slog.LevelInfo, "rolling restart begins", nil, map[string]any{"workers": ro.total, "image": e.Image.Name})
	return nil
}

func (ro *rollout) setTarget(f *Fleet, c *consumer, rel *release) {
	var ref *release
	f.setRelease(&ref, rel)
	ro.targets[c] = ref
}

// chooseTargets finds the release for each consumer that is there, and those of
// consumers that are not yet.
func (f *Fleet) chooseTargets(ro *rollout, e Rollout) (added []*release, err error) {
	targets := map[*consumer]*release{}
	for _, wc := range e.Plan.Consumers {
		if e.Only != "" && wc.Name != e.Only {
			continue
		}
		c := f.consumer(wc.Name)
		if c == nil { // `--all`, and the new program has one more
			added = append(added, &release{number: f.releases + 1, image: e.Image, consumer: wc})
			continue
		}
		if was, is := c.release.config().GroupID, wc.Config.GroupID; was != is && !e.NewGroup {
			return nil, fmt.Errorf("%s would change its group from %s to %s, and process again (or skip) whatever %s has no position for: "+
				"racecarctl restart --new-group does it", c.name, was, is, is)
		}
		if !e.IfChanged || c.stoppedBecause != "" || !c.runs(e.Image, wc) {
			targets[c] = f.newRelease(c, e.Image, wc)
		}
	}
	for _, c := range f.consumers {
		if targets[c] == nil && (e.Only == "" || e.Only == c.name) && !e.IfChanged {
			return nil, fmt.Errorf("the new program has no consumer %s", c.name)
		}
	}
	if len(targets) == 0 && len(added) == 0 {
		return nil, ErrNothingChanged
	}
	for c, rel := range targets {
		ro.setTarget(f, c, rel)
	}
	return added, nil
}

// enqueue plans the slots of a consumer.
func (f *Fleet) enqueue(c *consumer, rel *release, ifChanged bool) {
	c.stoppedBecause = ""
	n := c.desiredSlots()
	// A count changed by an operator stays, unless the configuration's changed.
	if was, is := c.release.config().ParallelWorkers, rel.config().ParallelWorkers; was != is {
		n = max(1, is)
	}
	for i, s := range c.slots {
		switch {
		case i >= n:
			s.desired = removed
		case ifChanged && s.desired == running && s.lastGood != rel && s.lastGood.equals(rel.image, rel.consumer):
			// It runs it already, from a rollout that was stopped later.
		default:
			if s.desired == removed { // its process still stops
				s.desired = pending
			}
			f.rollout.queue = append(f.rollout.queue, s)
		}
	}
	for len(c.slots) < n {
		f.rollout.queue = append(f.rollout.queue, f.grow(c, pending))
	}
}

// runs reports whether a consumer and all its workers are what a plan describes: those
// that a rollout reached before it was stopped differ from the others.
func (c *consumer) runs(image Image, wc wire.Consumer) bool {
	return c.release.equals(image, wc) && !slices.ContainsFunc(c.slots, func(s *slot) bool { return !s.lastGood.equals(image, wc) })
}

// newRelease makes the release of a consumer that a plan describes. It has the number of
// one that is equal.
func (f *Fleet) newRelease(c *consumer, image Image, wc wire.Consumer) *release {
	rel := &release{number: f.releases + 1, image: image, consumer: wc}
	known := []*release{c.release}
	for _, s := range c.slots {
		known = append(known, s.lastGood)
	}
	for _, k := range known {
		if k.equals(image, wc) {
			rel.number = k.number
		}
	}
	return rel
}

// join adds a slot to a rollout of its consumer that has not come to it.
func (f *Fleet) join(s *slot) {
	ro := f.rollout
	if ro == nil || ro.current == s || slices.Contains(ro.queue, s) {
		return
	}
	if rel := ro.targets[s.consumer]; rel != nil && rel != s.lastGood {
		ro.queue = append(ro.queue, s)
		ro.total++
	}
}

// advanceRollout goes on with the rollout as far as its current slot allows.
func (f *Fleet) advanceRollout() {
	for f.rollout != nil {
		ro := f.rollout
		s := ro.current
		switch {
		case s == nil && len(ro.queue) == 0 && f.anyStays():
			return // the last processes of the old release exit first
		case s == nil:
			f.nextSlot()
		case s.desired != running: // removed
			if s.active != nil {
				return
			}
			if ro.failure != "" {
				f.endRollout(errors.New(ro.failure))
				return
			}
			f.setRelease(&s.target, s.lastGood)
			ro.total--
			ro.current = nil
		case ro.failure != "":
			if s.active == nil || s.active.release != s.lastGood {
				return // it goes back
			}
			f.endRollout(fmt.Errorf("%s; %w", ro.failure, ErrRolledBack))
		case s.active == nil || s.active.release != s.target:
			return
		case f.runsNow(s):
			f.setRelease(&s.lastGood, s.target)
			ro.done++
			ro.current = nil
			f.progress(s, "restarted", fmt.Sprintf("%d of %d", ro.done, ro.total))
		case !f.overdue(s):
			return
		}
	}
}

// anyStays reports whether a process has stopped and stays.
func (f *Fleet) anyStays() bool {
	for s := range f.slots() {
		if s.lingering != nil {
			return true
		}
	}
	return false
}

// nextSlot makes the next slot of the queue the current one, or ends the rollout.
func (f *Fleet) nextSlot() {
	ro := f.rollout
	for len(ro.queue) > 0 && ro.queue[0].desired == removed {
		ro.queue = ro.queue[1:]
		ro.total--
	}
	if len(ro.queue) == 0 {
		for _, c := range f.consumers {
			if rel := ro.targets[c]; rel != nil {
				f.setRelease(&c.release, rel)
			}
		}
		f.log(slog.LevelInfo, "rolling restart is complete", nil, map[string]any{"workers": ro.total})
		f.finishRollout(nil)
		return
	}
	s := ro.queue[0]
	ro.queue = ro.queue[1:]
	ro.current, ro.timed = s, nil
	// The slot before may have made the group rebalance, so that this one is joining. A
	// successor that waits is good enough only where the process before waited.
	ro.wasRunning = s.active == nil || s.active.frame.State != status.Waiting
	if s.active == nil {
		s.crashes, s.restartAt = crashes{}, time.Time{}
	}
	ro.added = s.desired == pending && s.lastGood != ro.targets[s.consumer]
	s.desired = running
	f.setRelease(&s.target, ro.targets[s.consumer])
	f.progress(s, "restarting", fmt.Sprintf("%d of %d", ro.total-len(ro.queue), ro.total))
	f.settle(s)
}

// runsNow reports whether the new process of the current slot has come to run.
func (f *Fleet) runsNow(s *slot) bool {
	switch s.active.frame.State {
	case status.Running, status.Quiet:
		return s.active.stopping == ""
	case status.Waiting:
		return !f.rollout.wasRunning && s.active.stopping == ""
	}
	return false
}

// overdue takes the current slot back when its new process does not come to run in time.
func (f *Fleet) overdue(s *slot) bool {
	ro, p := f.rollout, s.active
	if ro.timed != p {
		ro.timed = p
		ro.due = f.now.Add(p.release.config().WorkerBootTimeout)
		ro.latest = ro.due.Add(p.release.joinLimit())
	}
	if p.frame.State == status.Joining { // the broker lets a join last until the others have come
		if due := p.since.Add(p.release.joinLimit()); due.After(ro.due) {
			ro.due = due
		}
		if ro.due.After(ro.latest) {
			ro.due = ro.latest
		}
	}
	if f.now.Before(ro.due) || p.stopping != "" {
		return false
	}
	failure := fmt.Sprintf("%s did not come to run: it is %s", s.name(), p.frame.State)
	if p.frame.Detail != "" {
		failure += " (" + p.frame.Detail + ")"
	}
	f.failRollout(s, failure)
	f.settle(s)
	return true
}

// isRolledOut reports whether a process is the new one of the current slot.
func (f *Fleet) isRolledOut(p *proc) bool {
	ro := f.rollout
	return ro != nil && ro.current == p.slot && p.release == ro.targets[p.slot.consumer]
}

// failRollout takes the current slot back to what it ran before, if it ran before.
func (f *Fleet) failRollout(s *slot, why string) {
	if ro := f.rollout; ro != nil && ro.current == s && ro.failure == "" {
		ro.failure = why
		f.setRelease(&s.target, s.lastGood)
		if ro.added {
			s.desired = removed
		}
	}
}

// abortRollout ends a rollout for an outer reason.
func (f *Fleet) abortRollout(err error) {
	if f.rollout != nil {
		f.endRollout(err)
	}
}

// endRollout ends a rollout that did not reach all slots. Those that it was to add go.
func (f *Fleet) endRollout(err error) {
	ro := f.rollout
	if s := ro.current; s != nil {
		f.setRelease(&s.target, s.lastGood)
	}
	for c, rel := range ro.targets {
		keep := c.has(running) && c.release == rel // a new consumer that was reached
		for _, s := range c.slots {
			switch {
			case s.desired == pending && keep:
				s.desired = running
				f.settle(s)
			case s.desired == pending:
				s.desired = removed
			}
		}
		if c.stoppedBecause == "" && c.has(stoppedPermanently) && !c.has(running) { // it stopped permanently before
			c.stoppedBecause = err.Error()
		}
	}
	f.log(slog.LevelError, "rolling restart was stopped", nil, map[string]any{"reason": err.Error()})
	f.finishRollout(err)
}

func (f *Fleet) finishRollout(err error) {
	ro := f.rollout
	f.rollout = nil
	for _, rel := range ro.targets { // each held by setTarget
		f.setRelease(&rel, nil)
	}
	step, detail := "done", ""
	if err != nil {
		step, detail = "failed", err.Error()
	}
	f.progress(nil, step, detail)
	f.answer(ro.ref, err)
	f.do(RolloutEnded{})
}
