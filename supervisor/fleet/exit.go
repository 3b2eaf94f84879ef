package fleet

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// Exit is how a process ended.
type Exit struct {
	Code   int            // -1 when a signal ended it
	Signal syscall.Signal // 0 when it exited
}

func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}

// LastLines is the end of a text, at most size bytes, from the beginning of a line.
func LastLines(text string, size int) string {
	if len(text) <= size {
		return text
	}
	text = text[len(text)-size:]
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}

// crash is an exit that nobody asked for.
type crash struct {
	reason string // one word, for counting
	text   string // one line
	// uncounted: it does not count against the slot.
	uncounted bool
	permanent bool // a restart is of no use
	// poison: a message caused it, so it is that message's count that rises.
	poison bool
}

func (e Exited) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	s := p.slot
	s.base.Add(e.Work)
	clean := e.Exit.Signal == 0 && e.Exit.Code == wire.ExitOK && p.killed == "" ||
		p.finished || p.stopping != "" && p.frame.State == status.Starting // it had nothing in hand
	if p.leavesGroup && clean {
		p.members = nil // it has left
	}
	s.orphanedMembers = append(s.orphanedMembers, p.members...)
	standby, lingering := s.standby == p, s.lingering == p
	f.forget(p)
	defer f.setRelease(&p.release, nil)
	switch {
	case lingering:
		f.reportExit(p, e, string(p.stopping), clean)
	case standby && p.stopping == "":
		text := p.describe(e)
		f.logDeath(p, e, text)
		f.reportExit(p, e, string(stopRollout), false)
		f.failRollout(s, s.name()+": the new one ended before it took over: "+text)
	case standby:
		f.reportExit(p, e, string(stopRollout), clean)
	case p.stopping != "":
		if !clean && p.killed == "" {
			f.classify(p, e) // what it had in hand is suspect all the same
		}
		f.reportExit(p, e, string(p.stopping), clean)
		f.stoppedActive(p, e, clean)
	default:
		c := f.classify(p, e)
		f.reportExit(p, e, c.reason, false)
		f.logDeath(p, e, c.text)
		f.crashed(p, c)
	}
}

// reportExit reports the exit of a process to subscribers.
func (f *Fleet) reportExit(p *proc, e Exited, reason string, graceful bool) {
	event := WorkerEvent{Kind: WorkerExited, Consumer: p.slot.consumer.name, Index: p.slot.index, PID: p.pid, Reason: reason, Graceful: graceful}
	if !graceful {
		event.Detail = p.describe(e)
	}
	f.do(event)
}

// lastLinesSize is how much of a dead worker's stderr the status shows.
const lastLinesSize = 8 << 10

// logDeath keeps why the last process ended.
func (f *Fleet) logDeath(p *proc, e Exited, text string) {
	s := p.slot
	s.lastExit = text
	s.lastLines = LastLines(e.Stderr, lastLinesSize)
	fields := map[string]any{"pid": p.pid, "reason": text}
	if p.quit && e.Stderr != "" {
		fields["stacks"] = e.Stderr // also where the log is not where stderr goes
	}
	f.log(slog.LevelError, "worker died", s, fields)
}

// classify tells crashes apart, and makes suspects of what was in hand.
func (f *Fleet) classify(p *proc, e Exited) crash {
	c := crash{reason: "crash", text: p.describe(e)}
	innocent := false // what it had in hand did not cause it
	switch {
	case p.killed != "":
		kind := p.escalation.kind
		c.reason = string(kind)
		innocent = kind == frozenStopped || kind == joinStuck || kind == bootTimeout
	case e.Exit.Code == wire.ExitPermanent:
		c.reason, c.permanent, innocent = "permanent", true, true
	case p.exitReason != nil: // it exited by itself, gracefully
		innocent = true
		if c.permanent = p.exitReason.Permanent; c.permanent {
			c.reason = "permanent"
		}
	case e.Exit.Signal == syscall.SIGKILL && e.OOM:
		c.reason = "oom"
	case e.Exit.Signal == syscall.SIGKILL, e.Exit.Signal == syscall.SIGTERM,
		e.Exit.Signal == syscall.SIGINT, e.Exit.Signal == syscall.SIGHUP:
		c.reason, innocent = "killed", true
	}
	if innocent || len(e.InHand) == 0 {
		return c
	}
	con := p.slot.consumer
	c.poison = con.suspects.addDeath(e.InHand, c.text)
	c.uncounted = c.poison
	for _, call := range e.InHand {
		f.log(slog.LevelWarn, "messages were in hand when their worker died", p.slot, map[string]any{
			"pid": p.pid, "topic": call.Topic, "partition": call.Partition,
			"offset": call.FirstOffset, "last_offset": call.LastOffset, "alone": call.Alone,
		})
	}
	f.sendSuspects(con)
	return c
}

// describe says in one line how a process ended.
func (p *proc) describe(e Exited) string {
	if p.killed != "" {
		return p.killed
	}
	text := e.Exit.String()
	switch {
	case e.Exit.Signal == syscall.SIGKILL && e.OOM:
		text = "killed by the kernel: out of memory"
	case e.Exit == Exit{} && p.stopping == "":
		text += " without being asked to"
	}
	switch {
	case p.exitReason != nil && p.exitReason.Reason != "":
		text += ": " + p.exitReason.Reason
	case e.Headline != "" && e.Exit.Signal != syscall.SIGKILL:
		text += ": " + e.Headline
	}
	return text
}

// stoppedActive takes the exit of an active process that was asked to stop.
func (f *Fleet) stoppedActive(p *proc, e Exited, clean bool) {
	s := p.slot
	switch {
	case p.finished: // logged when it had stopped
	case clean:
		f.logStopped(p)
	default:
		text := p.describe(e)
		f.logDeath(p, e, text)
		if f.shutdown != nil {
			f.shutdown.failures = append(f.shutdown.failures, s.name()+": "+text)
		}
	}
	if s.desired != running && !p.finished {
		f.progress(s, string(s.idleState()), "")
	}
	f.countRestart(p)
}

// countRestart counts the restart that follows a stop.
func (f *Fleet) countRestart(p *proc) {
	s := p.slot
	if s.desired != running {
		return
	}
	reason := p.stopping
	if f.rollout != nil && f.rollout.current == s {
		reason = stopRollout
	}
	s.restarts++
	f.restartsBy[string(reason)]++
}

// crashed decides what follows a crash, or a process that could not be started.
func (f *Fleet) crashed(p *proc, c crash) {
	s := p.slot
	switch {
	case s.desired != running:
		f.progress(s, string(s.idleState()), "")
		return
	case f.isRolledOut(p):
		f.failRollout(s, s.name()+" died: "+c.text)
		return
	case f.rollout != nil && f.rollout.current == s: // the new one follows
		return
	case c.permanent:
		f.failSlot(s, c.text)
		return
	}
	limit := s.lastGood.config().WorkerRestartLimit
	var healthy time.Duration
	if !p.booted.IsZero() {
		healthy = f.now.Sub(p.booted)
	}
	wait, exceeded := s.crashes.add(f.now, healthy, !c.uncounted, !s.consumer.wasReady, limit, f.draw())
	if c.poison && s.crashes.consecutive <= wire.PoisonedAfter+1 { // and one before it was proven
		wait = 0 // the message's deaths are counted and bounded; its neighbours need not wait
	}
	switch {
	case exceeded && limit == 0:
		f.log(slog.LevelError, "a worker died and worker_restart_limit is 0: stopping everything", s, nil)
		f.beginShutdown(Shutdown{}, 1, fmt.Errorf("%s died: %s", s.name(), c.text))
	case exceeded:
		when := "within a minute"
		if !s.consumer.wasReady {
			when = "and was never ready"
		}
		cause := fmt.Sprintf("%s died more than %d times %s", s.name(), limit, when)
		f.failConsumer(s.consumer, cause, cause+", at last: "+c.text)
	default:
		s.restarts++
		f.restartsBy[c.reason]++
		if wait == 0 {
			return
		}
		s.restartAt = f.now.Add(wait)
		f.log(slog.LevelWarn, "worker is restarted after a backoff", s, map[string]any{"backoff": wait.Round(10 * time.Millisecond).String()})
		f.progress(s, string(status.Backoff), c.text)
	}
}

// failSlot stops one slot permanently; its consumer goes on with the others.
func (f *Fleet) failSlot(s *slot, why string) {
	s.desired = stoppedPermanently
	f.log(slog.LevelError, "worker is not restarted: the failure is permanent", s, nil)
	f.progress(s, string(status.Fatal), why)
	f.do(WorkerEvent{Kind: WorkerStoppedPermanently, Consumer: s.consumer.name, Index: s.index, Detail: why})
	if !s.consumer.has(running) {
		f.failConsumer(s.consumer, "its workers failed permanently", why)
	}
}

// failConsumer stops a consumer permanently; the others go on. cause is for the log, in
// which the last worker's death already is.
func (f *Fleet) failConsumer(c *consumer, cause, why string) {
	if c.stoppedBecause != "" {
		return
	}
	c.stoppedBecause = why
	f.log(slog.LevelError, "consumer stopped permanently", nil, map[string]any{"consumer": c.name, "reason": cause})
	f.abortRollout(fmt.Errorf("%s stopped permanently: %s", c.name, why))
	for _, s := range c.slots {
		if s.desired != removed {
			s.desired = stoppedPermanently
		}
	}
	f.progress(nil, string(status.Fatal), c.name+": "+why)
	f.do(WorkerEvent{Kind: WorkerStoppedPermanently, Consumer: c.name, Index: -1, Detail: why})
}

// has reports whether a slot is taken to that state.
func (c *consumer) has(d desired) bool {
	for _, s := range c.slots {
		if s.desired == d {
			return true
		}
	}
	return false
}
