package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// LoopState is what the caller of Step has to know to go on.
type LoopState struct {
	Ready, Rolling, Stopping bool
	WakeAt                   time.Time       // when something is due without an event; zero: nothing is
	Consumers                []wire.Consumer // what new workers run
}

// LoopState reads the fleet.
func (f *Fleet) LoopState() LoopState {
	st := LoopState{Ready: f.ready, Rolling: f.rollout != nil, Stopping: f.shutdown != nil, WakeAt: f.wakeAt()}
	for _, c := range f.consumers {
		st.Consumers = append(st.Consumers, c.release.consumer)
	}
	return st
}

// statusVersion is the version of the status's JSON.
const statusVersion = 1

// Status is all that is known without asking the workers. fresh selects the processes
// whose reports are new enough to be in it.
func (f *Fleet) Status(fresh func(ProcID) bool) status.Status {
	st := status.Status{
		Version:    statusVersion,
		StartedAt:  f.started,
		State:      f.state(),
		Totals:     map[string]uint64{},
		RestartsBy: map[string]uint64{},
	}
	maps.Copy(st.RestartsBy, f.restartsBy)
	for _, c := range f.consumers {
		restarts := c.restarts
		var all status.Work
		all.Add(c.base)
		for _, s := range c.slots {
			all.Add(s.done())
			restarts += s.restarts
			st.Workers = append(st.Workers, s.report(fresh))
		}
		for k, v := range all.Counters {
			st.Totals[k] += v
		}
		var paused []status.Paused
		for _, p := range c.paused {
			paused = append(paused, status.Paused{Topic: p.Topic, Partition: p.Partition})
		}
		one := status.Consumer{
			Name: c.name, Group: c.release.config().GroupID, Workers: c.workers(), State: c.state(), Reason: c.stoppedBecause, Paused: paused,
			Totals: all.Counters, Times: all.Times, CPU: all.CPU, Restarts: restarts,
		}
		f.reportOutages(c, &one)
		st.Consumers = append(st.Consumers, one)
	}
	return st
}

// report is the status of one worker.
func (s *slot) report(fresh func(ProcID) bool) status.Worker {
	w := status.Worker{
		Consumer: s.consumer.name, Index: s.index, State: s.state(), Since: s.since,
		Restarts: s.restarts, LastExit: s.lastExit, LastStderr: s.lastLines,
		Group: s.lastGood.config().GroupID, Release: s.lastGood.number, Processed: s.done().Counters[status.CountMessages],
	}
	p := s.active
	if p == nil {
		if w.State == status.Backoff {
			w.Detail = "restarts at " + s.restartAt.Format(time.TimeOnly) + " after: " + s.lastExit
		}
		return w
	}
	started := p.spawned
	w.PID, w.StartedAt, w.Members, w.Release = p.pid, &started, p.members, p.release.number
	w.Detail, w.Since, w.Live, w.Outages = p.frame.Detail, p.since, p.frame.Live, p.outages()
	if p.stopping != "" {
		w.Detail = string(p.stopping)
	}
	if p.escalation != nil {
		w.Detail, w.Live = p.escalation.text, false
	}
	if fresh(p.id) {
		w.Report = p.report
	}
	return w
}

// state is that of the slot's process, or why it has none.
func (s *slot) state() status.State {
	switch p := s.active; {
	case p == nil:
		return s.idleState()
	case p.stopping != "":
		return status.Stopping
	default:
		return p.frame.State
	}
}

// idleState is the state of a slot without a process.
func (s *slot) idleState() status.State {
	switch {
	case s.desired == stoppedPermanently:
		return status.Fatal
	case s.desired == removed || s.desired == stopped:
		return status.Exited
	case !s.restartAt.IsZero():
		return status.Backoff
	}
	return status.Starting
}

// state of a consumer: that of its worker that is furthest.
func (c *consumer) state() status.State {
	if c.stoppedBecause != "" {
		return status.Fatal
	}
	best := status.Exited
	for _, s := range c.slots {
		best = further(best, s.state())
	}
	return best
}

// ranks orders states for a summary, the telling ones first.
var ranks = [...]status.State{
	status.Running, status.Quiet, status.Joining, status.Waiting, status.Starting,
	status.Backoff, status.Stopping, status.Fatal, status.Exited,
}

// further returns the state that comes first in ranks.
func further(a, b status.State) status.State {
	if i := slices.Index(ranks[:], b); i >= 0 && i < slices.Index(ranks[:], a) {
		return b
	}
	return a
}

func (f *Fleet) state() status.State {
	switch {
	case f.shutdown != nil:
		return status.Stopping
	case !f.ready:
		return status.Starting
	}
	best := status.Exited
	for _, c := range f.consumers {
		best = further(best, c.state())
	}
	return best
}

// done is what all processes of the slot have done.
func (s *slot) done() status.Work {
	var all status.Work
	all.Add(s.base)
	for _, p := range []*proc{s.active, s.standby, s.lingering} {
		if p != nil {
			all.Add(p.work)
		}
	}
	return all
}
