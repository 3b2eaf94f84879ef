package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

const (
	// leaveWithin bounds the removal of members from their groups.
	leaveWithin = 4 * time.Second
	// leaveForced bounds it after a forced end.
	leaveForced = 2 * time.Second
	// startingGrace is how long a worker may take to stop that has nothing in hand yet.
	startingGrace = 2 * time.Second
	// exitWithin is how long a worker may take to exit that has stopped and stayed.
	exitWithin = 2 * time.Second
	// debounce is how soon after the first a second order to stop is the same one:
	// timeout(1) and some shells signal the process and then its group.
	debounce = 500 * time.Millisecond
)

// stopOrder asks for the end of everything.
type stopOrder struct {
	force bool          // kill at once
	grace time.Duration // 0: shutdown_timeout
	leave bool          // remove the members although membership is host
	code  int           // exit code if all goes well
	err   error         // what it is about when code is not 0
}

// ending is a whole stop under way.
type ending struct {
	stopOrder
	at      time.Time // the first order
	failed  []string  // what was killed or failed
	leaving bool      // all workers have stopped, members are being removed
	leaves  int       // removals under way
	leaveBy time.Time
	exiting bool // the workers that stayed were told to exit
	done    bool
}

// end stops everything. A second order forces.
func (r *registry) end(o stopOrder) {
	if r.ending != nil {
		r.endAgain(o)
		return
	}
	e := &ending{stopOrder: o, at: r.now}
	r.ending = e
	grace := o.grace
	if grace == 0 {
		for _, c := range r.consumers {
			grace = max(grace, c.rel.config().ShutdownTimeout)
		}
	}
	e.grace = grace
	r.do(doStopping{})
	r.do(doLog{logrus.InfoLevel, "stopping", logrus.Fields{"grace": grace.String()}})
	r.progress(nil, string(status.Stopping), "")
	r.abortRoll(errors.New("everything is being stopped"))
	for _, c := range r.consumers {
		if r.leavesAtEnd(c) {
			r.do(doPrepareLeave{c.rel.consumer, c.rel.image})
		}
	}
	for s := range r.slots() {
		s.wanted = false
		r.dropNext(s)
		if s.cur != nil {
			// Members of membership run are removed together at the end, so that the
			// group is told once. Dynamic members leave by themselves.
			r.stopProc(s.cur, stopWhole, s.rel.config().Membership == config.MembershipDynamic)
		} else if s.idle != status.Fatal {
			s.idle, s.since = status.Exited, r.now
		}
	}
	if o.force {
		r.force()
	}
	r.checkEnd()
}

// endAgain is a further order to stop while stopping.
func (r *registry) endAgain(o stopOrder) {
	e := r.ending
	if !o.force && r.now.Sub(e.at) < debounce {
		return
	}
	e.leave = e.leave || o.leave
	if e.leaving {
		e.failed = append(e.failed, "members were not removed from their groups")
		e.leaveBy = r.now // enough waited
		return
	}
	r.do(doLog{logrus.WarnLevel, "asked again to stop: killing what is left", nil})
	r.force()
}

// force kills what is left.
func (r *registry) force() {
	for p := range r.procs() {
		if p.finished {
			continue
		}
		r.put(p, overdue, "killed: a stop was forced", killRung)
		if p.ladder.kind != overdue { // it was on another one: no more waiting there
			p.ladder.rungs = []rung{killRung}
			p.ladder.at = r.now
			r.climb(p)
		}
	}
}

// stopProc asks a process to end in order.
func (r *registry) stopProc(p *proc, why stopReason, leave bool) {
	grace := p.rel.config().ShutdownTimeout
	if r.ending != nil {
		grace = r.ending.grace
	}
	if p.frame.State == status.Starting { // it has nothing in hand
		grace = min(grace, startingGrace)
	}
	if p.stopping != "" { // it knows; but it may have less time now
		p.stopping = why
		if by := r.now.Add(grace); by.Before(p.killAt) {
			p.grace, p.killAt = grace, by
		}
		return
	}
	p.stopping = why
	p.leaves = leave
	p.grace, p.killAt = grace, r.now.Add(grace)
	// Its counters as they are now; what it does until its end is in its frames.
	r.command(p, wire.Command{Kind: wire.CommandStatus})
	p.stays = why == stopWhole && !leave && r.leavesAtEnd(p.slot.consumer)
	r.command(p, wire.Command{Kind: wire.CommandStop, Grace: grace, Leave: leave, Stay: p.stays})
	r.progress(p.slot, string(status.Stopping), string(why))
}

// dropNext ends a process that stands by.
func (r *registry) dropNext(s *slot) {
	if s.next != nil {
		r.stopProc(s.next, stopSpare, false)
	}
}

// stopped takes the end of a process that was asked to end.
func (r *registry) stopped(s *slot, p *proc, e remains, clean bool) {
	switch {
	case p.finished: // which was told then
	case clean:
		r.logStopped(p)
	default:
		text := describe(p, e)
		r.note(s, p, e, text)
		if r.ending != nil {
			r.ending.failed = append(r.ending.failed, s.name()+": "+text)
		}
	}
	switch {
	case r.ending != nil && p.finished:
		s.idle, s.since = status.Exited, r.now
	case r.ending != nil:
		r.retire(s)
	case !s.wanted && p.stopping == stopScale:
		r.leaveFor(s)
		r.retire(s)
	case s.consumer.fatal != "", !s.wanted && p.stopping == stopFatal: // the latter is to be revived by a roll
		s.idle, s.since = status.Fatal, r.now
		r.leaveFor(s)
	case !s.wanted:
		r.leaveFor(s)
		r.retire(s)
	case p.stopping == stopRoll, r.roll != nil && r.roll.cur == s:
		r.rollStopped(s)
	default:
		s.restarts++
		r.restartsBy[string(p.stopping)]++
		r.start(s, s.rel)
	}
}

func (r *registry) logStopped(p *proc) {
	r.log(logrus.InfoLevel, "worker stopped", p.slot, logrus.Fields{"pid": p.pid, "reason": string(p.stopping)})
}

// retire leaves a slot without a process. One that was scaled away vanishes
// with those above it.
func (r *registry) retire(s *slot) {
	s.idle, s.since = status.Exited, r.now
	r.progress(s, string(status.Exited), "")
	if ro := r.roll; ro != nil && ro.cur == s { // scaled away while it was its turn
		if ro.failed != "" {
			r.endRoll(errors.New(ro.failed))
			return
		}
		ro.total--
		r.rollNext()
	}
}

// checkEnd goes on with a whole stop, or begins it when no consumer is left.
func (r *registry) checkEnd() {
	r.prune()
	if r.ending == nil {
		for _, c := range r.consumers {
			if c.fatal == "" {
				return
			}
		}
		for range r.procs() {
			return
		}
		texts := make([]error, 0, len(r.consumers))
		for _, c := range r.consumers {
			texts = append(texts, fmt.Errorf("%s was given up: %s", c.name, c.fatal))
		}
		r.end(stopOrder{code: 1, err: errors.Join(texts...)})
		return
	}
	if r.ending.done {
		return
	}
	for p := range r.procs() {
		if !p.finished {
			return
		}
	}
	if !r.ending.leaving {
		r.leaveAtEnd()
	}
	r.finish()
}

// leaveAtEnd removes the members of all workers from their groups, of each group with
// one request.
func (r *registry) leaveAtEnd() {
	e := r.ending
	e.leaving = true
	within := leaveWithin
	if e.failed != nil {
		within = leaveForced
	}
	e.leaveBy = r.now.Add(within)
	for _, c := range r.consumers {
		var places []status.Member
		for _, s := range c.slots {
			places = append(places, s.left...)
			s.left = nil
			if s.cur != nil {
				places = append(places, s.cur.places...)
			}
		}
		if len(places) > 0 && r.leavesAtEnd(c) {
			e.leaves++
			r.do(doLeave{consumer: c.rel.consumer, image: c.rel.image, places: places, within: within, final: true})
		}
	}
}

// finish ends a whole stop once members are removed and the workers that stayed until
// then have exited.
func (r *registry) finish() {
	e := r.ending
	if e.leaves > 0 {
		if r.now.Before(e.leaveBy) {
			return
		}
		r.do(doLog{logrus.WarnLevel, "members were not removed from their groups in time", nil})
		e.leaves = 0
	}
	for p := range r.procs() {
		if !e.exiting {
			r.command(p, wire.Command{Kind: wire.CommandExit})
			p.grace, p.killAt = exitWithin, r.now.Add(exitWithin)
		}
	}
	e.exiting = true
	for range r.procs() {
		return
	}
	e.done = true
	out := doEnd{code: e.code, err: e.err}
	if out.code == 0 && e.failed != nil {
		out = doEnd{code: 1, err: fmt.Errorf("not all stopped in order: %s", strings.Join(e.failed, "; "))}
	}
	r.do(out)
}

// overdueStops kills what was asked to end and did not in time.
func (r *registry) overdueStops() {
	for p := range r.procs() {
		if p.stopping == "" || r.now.Before(p.killAt) || p.finished && !r.ending.exiting {
			continue
		}
		text := fmt.Sprintf("killed: did not stop within %v", p.grace)
		for _, c := range p.inHand {
			text += fmt.Sprintf("; %s/%d offset %d in hand", c.Topic, c.Partition, c.FirstOffset)
		}
		r.put(p, overdue, text, killRung)
	}
}

var (
	errStopping = errors.New("racecar is stopping")
	errRolling  = errors.New("a rolling restart is under way")
)

// leavesAtEnd says whether a consumer's members are removed at a whole stop.
func (r *registry) leavesAtEnd(c *consumer) bool {
	return c.rel.config().Membership != config.MembershipHost || r.ending.leave
}

// leaveFor removes what is left in the group of a slot that nobody follows.
func (r *registry) leaveFor(s *slot) {
	r.leave(s.rel, s.left)
	s.left = nil
}

// leave removes places of processes that are gone.
func (r *registry) leave(rel *release, places []status.Member) {
	if len(places) > 0 {
		r.do(doLeave{consumer: rel.consumer, image: rel.image, places: places, within: leaveWithin})
	}
}

// leaveDone is the end of a final removal.
func (r *registry) leaveDone(now time.Time) {
	r.now = now
	if r.ending != nil && r.ending.leaves > 0 { // else it was not waited for any longer
		r.ending.leaves--
	}
	r.checkEnd()
}
