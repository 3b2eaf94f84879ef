package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
)

const (
	// removeWithin bounds the removal of members from their groups.
	removeWithin = 4 * time.Second
	// removeForced bounds it after a forced stop.
	removeForced = 2 * time.Second
	// startingGrace is how long a worker may take to stop that has nothing in hand yet.
	startingGrace = 2 * time.Second
	// exitWithin is how long a worker may take to exit that has stopped and stayed.
	exitWithin = 2 * time.Second
	// stayWithin bounds how long a process stays for its successor in a rollout.
	stayWithin = 30 * time.Second
	// debounce is how soon after the first a second signal to stop is the same one:
	// timeout(1) and some shells signal the process and then its group.
	debounce = 500 * time.Millisecond
)

// shutdown is a graceful shutdown of everything.
type shutdown struct {
	grace       time.Duration
	leaveGroups bool  // remove the members although membership is host
	code        int   // exit code if all goes well
	err         error // the reason when code is not 0
	began       time.Time
	failures    []string  // what was killed or failed
	removing    bool      // all workers have stopped, members are being removed
	removals    int       // under way
	removeBy    time.Time // when they are no longer waited for
	exiting     bool      // the workers that stayed were told to exit
	done        bool
}

func (e Shutdown) apply(f *Fleet) {
	d := f.shutdown
	switch {
	case d == nil:
		f.beginShutdown(e, 0, nil)
		return
	case e.Signal && f.now.Sub(d.began) < debounce:
		return
	}
	d.leaveGroups = d.leaveGroups || e.LeaveGroups
	switch {
	case !e.Signal && !e.Force:
	case d.removing:
		d.failures = append(d.failures, "members were not removed from their groups")
		d.removeBy = f.now // it was waited for long enough
	default:
		f.log(slog.LevelWarn, "stop requested again: killing the remaining processes", nil, nil)
		f.killAll()
	}
}

// beginShutdown stops everything. code and err are for Finished if all goes well.
func (f *Fleet) beginShutdown(e Shutdown, code int, err error) {
	if f.shutdown != nil {
		return
	}
	grace := e.Grace
	if grace == 0 {
		for _, c := range f.consumers {
			grace = max(grace, c.release.config().ShutdownTimeout)
		}
	}
	if e.Force {
		grace = time.Nanosecond
	}
	f.shutdown = &shutdown{grace: grace, leaveGroups: e.LeaveGroups, code: code, err: err, began: f.now}
	f.do(Stopping{})
	f.log(slog.LevelInfo, "stopping", nil, map[string]any{"grace": grace.String()})
	f.progress(nil, string(status.Stopping), "")
	f.abortRollout(errors.New("everything is being stopped"))
	for _, c := range f.consumers {
		if f.removesMembers(c) {
			f.do(PrepareRemoval{c.release.consumer, c.release.image})
		}
	}
	for s := range f.slots() {
		if s.desired != stoppedPermanently || s.active != nil {
			s.desired = stopped
		}
		if s.active == nil {
			s.since = f.now
		}
		f.settle(s)
	}
	if e.Force {
		f.killAll()
	}
}

// killAll kills what is left.
func (f *Fleet) killAll() {
	for p := range f.ordered() {
		if p.finished {
			continue
		}
		f.beginEscalation(p, nil, overdue, "killed: a stop was forced", killStep)
		if p.escalation.kind != overdue { // it was on another one: no more waiting there
			p.escalation.steps = []escalationStep{killStep}
			p.escalation.due = f.now
			f.escalate(p)
		}
	}
}

// advanceShutdown goes on with a shutdown, or begins one when no consumer is left.
func (f *Fleet) advanceShutdown() {
	d := f.shutdown
	switch {
	case d == nil:
		f.checkFailed()
		return
	case d.done:
		return
	}
	for p := range f.ordered() {
		if !p.finished {
			return
		}
	}
	if !d.removing {
		f.removeAllMembers()
	}
	f.finishShutdown()
}

// checkFailed begins a shutdown when all consumers have stopped permanently.
func (f *Fleet) checkFailed() {
	if len(f.procs) > 0 {
		return
	}
	texts := make([]error, 0, len(f.consumers))
	for _, c := range f.consumers {
		if c.stoppedBecause == "" {
			return
		}
		texts = append(texts, fmt.Errorf("%s stopped permanently: %s", c.name, c.stoppedBecause))
	}
	f.beginShutdown(Shutdown{}, 1, errors.Join(texts...))
	f.advanceShutdown()
}

// removeAllMembers removes the members of all workers from their groups, of each group
// with one request.
func (f *Fleet) removeAllMembers() {
	d := f.shutdown
	d.removing = true
	within := removeWithin
	if d.failures != nil {
		within = removeForced
	}
	d.removeBy = f.now.Add(within)
	for _, c := range f.consumers {
		var members []status.Member
		for _, s := range c.slots {
			members = append(members, s.orphanedMembers...)
			s.orphanedMembers = nil
			if s.active != nil {
				members = append(members, s.active.members...)
			}
		}
		if len(members) > 0 && f.removesMembers(c) {
			d.removals++
			f.do(RemoveMembers{Consumer: c.release.consumer, Image: c.release.image, Members: members, Within: within, Final: true})
		}
	}
}

// finishShutdown ends a shutdown once members are removed and the workers that stayed
// until then have exited.
func (f *Fleet) finishShutdown() {
	d := f.shutdown
	if d.removals > 0 {
		if f.now.Before(d.removeBy) {
			return
		}
		f.log(slog.LevelWarn, "members were not removed from their groups in time", nil, nil)
		d.removals = 0
	}
	if !d.exiting {
		d.exiting = true
		for p := range f.ordered() {
			f.exit(p)
		}
	}
	if len(f.procs) > 0 {
		return
	}
	d.done = true
	result := Finished{Code: d.code, Err: d.err}
	if result.Code == 0 && d.failures != nil {
		result = Finished{Code: 1, Err: fmt.Errorf("not all workers stopped gracefully: %s", strings.Join(d.failures, "; "))}
	}
	f.do(result)
}

// killOverdue kills a process that was asked to stop and did not in time.
func (f *Fleet) killOverdue(p *proc) {
	if p.stopping == "" || f.now.Before(p.killAt) || p.finished && !p.exiting {
		return
	}
	text := fmt.Sprintf("killed: did not stop within %v", p.grace)
	for _, c := range p.inHand {
		text += fmt.Sprintf("; %s/%d offset %d in hand", c.Topic, c.Partition, c.FirstOffset)
	}
	f.beginEscalation(p, nil, overdue, text, killStep)
}

// removesMembers reports whether a consumer's members are removed at a shutdown.
func (f *Fleet) removesMembers(c *consumer) bool {
	return c.release.config().Membership != config.MembershipHost || f.shutdown.leaveGroups
}

func (MembersRemoved) apply(f *Fleet) {
	if d := f.shutdown; d != nil && d.removals > 0 { // else it was no longer waited for
		d.removals--
	}
}
