package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// remains is all that is known of a process at its end.
type remains struct {
	exit   fleet.Exit
	oom    bool // the kernel killed it for want of memory
	inHand []scoreboard.Call
	work   status.Work
	stderr string // the end of it
	// headline is the line of its stderr that says most: that of a panic or fatal
	// error, else the last one.
	headline string
}

// crash is an end that nobody asked for.
type crash struct {
	reason string // one word, for counting
	text   string // one line
	// blameless: it does not count against the slot.
	blameless bool
	permanent bool // trying again is of no use
	// poison: a message did it, so it is that message's count that rises.
	poison bool
}

// ended takes the end of a process.
func (r *registry) ended(p *proc, e remains) {
	s := p.slot
	s.base.Add(e.work)
	clean := e.exit.Signal == 0 && e.exit.Code == wire.ExitOK && p.killed == "" ||
		p.finished || p.stopping != "" && p.frame.State == status.Starting // it had nothing in hand
	if p.leaves && clean {
		p.places = nil // it has left
	}
	s.left = append(s.left, p.places...)

	if s.cur != p && s.next != p { // it stood by in a roll that was ended, and the next roll has another one
		r.tellExited(p, e, string(stopRoll), false)
		r.checkEnd()
		return
	}
	if s.next == p {
		s.next = nil
		if p.stopping == "" {
			r.note(s, p, e, describe(p, e))
			r.rollFailed(s, "the new one ended before it took over: "+describe(p, e))
		}
		r.tellExited(p, e, string(stopRoll), p.stopping != "" && clean)
		r.checkEnd()
		return
	}
	s.cur = nil
	switch {
	case p.stopping != "":
		if !clean && p.killed == "" {
			r.classify(p, e) // what it had in hand is suspect all the same
		}
		r.tellExited(p, e, string(p.stopping), clean)
		r.stopped(s, p, e, clean)
	default:
		c := r.classify(p, e)
		r.tellExited(p, e, c.reason, false)
		r.note(s, p, e, c.text)
		if !r.rollCrash(s, p, c.text) {
			r.crashed(s, p, c)
		}
	}
	r.checkEnd()
}

// tellExited tells of p's end.
func (r *registry) tellExited(p *proc, e remains, reason string, ordered bool) {
	event := doEvent{Kind: WorkerExited, Consumer: p.slot.consumer.name, Index: p.slot.index, PID: p.pid, Reason: reason, Ordered: ordered}
	if !ordered {
		event.Detail = describe(p, e)
	}
	r.do(event)
}

// lastStderrSize is how much of a dead worker's stderr the status shows.
const lastStderrSize = 8 << 10

// note keeps why the last process ended.
func (r *registry) note(s *slot, p *proc, e remains, text string) {
	s.lastExit = text
	s.lastStderr = fleet.LastLines(e.stderr, lastStderrSize)
	fields := logrus.Fields{"pid": p.pid, "reason": text}
	if p.quit && e.stderr != "" {
		fields["stacks"] = e.stderr // also where the log is not where stderr goes
	}
	r.log(logrus.ErrorLevel, "worker died", s, fields)
}

// classify tells apart the ends that nobody asked for, and makes suspects of
// what was in hand.
func (r *registry) classify(p *proc, e remains) crash {
	c := crash{reason: "crash", text: describe(p, e)}
	outside := false // ended by somebody, not by what it had in hand
	switch {
	case p.killed != "":
		c.reason = p.ladder.kind
		outside = p.ladder.kind == frozenStopped || p.ladder.kind == joinStuck || p.ladder.kind == bootTimeout
	case e.exit.Code == wire.ExitPermanent:
		c.reason, c.permanent = "permanent", true
		outside = true
	case p.last != nil:
		c.permanent = p.last.Permanent
		if c.permanent {
			c.reason = "permanent"
		}
		outside = true // it ended itself, in order
	case e.exit.Signal == syscall.SIGKILL && e.oom:
		c.reason = "oom"
	case e.exit.Signal == syscall.SIGKILL, e.exit.Signal == syscall.SIGTERM,
		e.exit.Signal == syscall.SIGINT, e.exit.Signal == syscall.SIGHUP:
		c.reason = "killed"
		outside = true
	}
	if !outside && len(e.inHand) > 0 {
		con := p.slot.consumer
		c.poison = con.suspects.died(e.inHand, c.text)
		c.blameless = c.poison
		for _, call := range e.inHand {
			r.log(logrus.WarnLevel, "messages were in hand when their worker died", p.slot, logrus.Fields{
				"pid": p.pid, "topic": call.Topic, "partition": call.Partition,
				"offset": call.FirstOffset, "last_offset": call.LastOffset, "alone": call.Alone,
			})
		}
		r.tellSuspects(con)
	}
	return c
}

// describe says in one line how a process ended.
func describe(p *proc, e remains) string {
	if p.killed != "" {
		return p.killed
	}
	var how string
	switch {
	case e.exit.Signal == syscall.SIGKILL && e.oom:
		how = "killed by the kernel: out of memory"
	case e.exit == fleet.Exit{} && p.stopping == "":
		how = e.exit.String() + " without being asked to"
	default:
		how = e.exit.String()
	}
	switch {
	case p.last != nil && p.last.Reason != "":
		how += ": " + p.last.Reason
	case e.headline != "" && e.exit.Signal != syscall.SIGKILL:
		how += ": " + e.headline
	}
	return how
}

// crashed decides what becomes of a slot whose process is gone unasked.
func (r *registry) crashed(s *slot, p *proc, c crash) {
	if !s.wanted || r.ending != nil {
		if r.ending == nil { // else all places are removed together
			r.leaveFor(s)
		}
		r.retire(s)
		return
	}
	cfg := s.rel.config()
	if c.permanent {
		r.giveUpSlot(s, c.text)
		return
	}
	limit := cfg.WorkerRestartLimit
	healthy := r.now.Sub(p.booted)
	if p.booted.IsZero() {
		healthy = 0
	}
	wait, giveUp := s.record.add(r.now, healthy, !c.blameless, !s.consumer.wasReady, limit, r.draw())
	if c.poison && s.record.consecutive <= wire.PoisonedAfter+1 { // and one before it was found out
		wait = 0 // the message's deaths are counted and bounded; its neighbours need not wait
	}
	switch {
	case giveUp && limit == 0:
		r.log(logrus.ErrorLevel, "a worker died and worker_restart_limit is 0: stopping everything", s, nil)
		r.end(stopOrder{code: 1, err: fmt.Errorf("%s died: %s", s.name(), c.text)})
		r.retire(s)
	case giveUp:
		r.retire(s)
		when := "within a minute"
		if !s.consumer.wasReady {
			when = "and was never ready"
		}
		cause := fmt.Sprintf("%s died more than %d times %s", s.name(), limit, when)
		r.giveUp(s.consumer, cause, cause+", at last: "+c.text)
	default:
		s.restarts++
		r.restartsBy[c.reason]++
		if wait == 0 {
			r.start(s, s.rel)
			return
		}
		s.idle, s.since, s.restartAt = status.Backoff, r.now, r.now.Add(wait)
		r.log(logrus.WarnLevel, "worker is started again after a pause", s, logrus.Fields{"pause": wait.Round(10 * time.Millisecond).String()})
		r.progress(s, string(status.Backoff), c.text)
	}
}

// giveUpSlot ends one slot for good; its consumer goes on with the others.
func (r *registry) giveUpSlot(s *slot, why string) {
	s.wanted = false
	s.idle, s.since = status.Fatal, r.now
	r.log(logrus.ErrorLevel, "worker is not started again: the failure is permanent", s, nil)
	r.progress(s, string(status.Fatal), why)
	r.do(doEvent{Kind: WorkerGivenUp, Consumer: s.consumer.name, Index: s.index, Detail: why})
	r.leaveFor(s)
	for _, other := range s.consumer.slots {
		if other.wanted {
			return
		}
	}
	r.giveUp(s.consumer, "its workers failed permanently", why)
}

// giveUp ends a consumer for good; the others go on. cause is what the log says, which
// has told of the last worker's death already.
func (r *registry) giveUp(c *consumer, cause, why string) {
	if c.fatal != "" {
		return
	}
	c.fatal = why
	r.do(doLog{logrus.ErrorLevel, "consumer is given up", logrus.Fields{"consumer": c.name, "reason": cause}})
	r.abortRoll(fmt.Errorf("%s was given up: %s", c.name, why))
	var left []status.Member
	for _, s := range c.slots {
		away := s.scaledAway() // and stays so
		s.wanted = false
		if s.cur == nil {
			if !away {
				s.idle, s.since = status.Fatal, r.now
			}
			left = append(left, s.left...)
			s.left = nil
		} else if !away {
			r.stopProc(s.cur, stopFatal, true)
		}
		r.dropNext(s)
	}
	r.leave(c.rel, left)
	r.progress(nil, string(status.Fatal), c.name+": "+why)
	r.do(doEvent{Kind: WorkerGivenUp, Consumer: c.name, Index: -1, Detail: why})
	r.checkReady()
	r.checkEnd()
}
