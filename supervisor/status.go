package supervisor

import (
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// statusVersion is the version of the status's JSON.
const statusVersion = 1

// status is the whole as it is known without asking the workers. fresh says of
// which processes the report is of just now.
func (r *registry) status(fresh func(*proc) bool) status.Status {
	st := status.Status{
		Version:    statusVersion,
		StartedAt:  r.started,
		State:      r.state(),
		Totals:     map[string]uint64{},
		RestartsBy: map[string]uint64{},
	}
	for k, v := range r.restartsBy {
		st.RestartsBy[k] = v
	}
	for _, c := range r.consumers {
		n, restarts := 0, c.restarts
		var all status.Work
		all.Add(c.base)
		for _, s := range c.slots {
			if s.wanted {
				n++
			}
			all.Add(s.done())
			restarts += s.restarts
			st.Workers = append(st.Workers, s.status(fresh))
		}
		for k, v := range all.Counters {
			st.Totals[k] += v
		}
		var paused []status.Paused
		for _, p := range c.paused {
			paused = append(paused, status.Paused{Topic: p.Topic, Partition: p.Partition})
		}
		st.Consumers = append(st.Consumers, status.Consumer{
			Name: c.name, Group: c.rel.config().GroupID, Workers: n, State: c.state(), Reason: c.fatal, Paused: paused,
			Totals: all.Counters, Times: all.Times, CPU: all.CPU, Restarts: restarts,
		})
	}
	return st
}

// status of one worker.
func (s *slot) status(fresh func(*proc) bool) status.Worker {
	w := status.Worker{
		Consumer: s.consumer.name, Index: s.index, State: s.idle, Since: s.since,
		Restarts: s.restarts, LastExit: s.lastExit, LastStderr: s.lastStderr,
		Group: s.rel.config().GroupID, Release: s.rel.number, Processed: s.done().Counters[status.CountMessages],
	}
	p := s.cur
	if p == nil {
		if s.idle == status.Backoff {
			w.Detail = "starts again at " + s.restartAt.Format(time.TimeOnly) + " after: " + s.lastExit
		}
		return w
	}
	started := p.spawned
	w.PID, w.StartedAt, w.Members, w.Release = p.pid, &started, p.places, p.rel.number
	w.State, w.Detail, w.Since, w.Live = p.frame.State, p.frame.Detail, p.since, p.frame.Live
	if p.stopping != "" {
		w.State = status.Stopping
		w.Detail = string(p.stopping)
	}
	if p.ladder != nil {
		w.Detail, w.Live = p.ladder.text, false
	}
	if fresh(p) {
		w.Report = p.report
	}
	return w
}

// state of a consumer: that of its worker that is furthest.
func (c *consumer) state() status.State {
	if c.fatal != "" {
		return status.Fatal
	}
	best, rank := status.Exited, len(ranks)
	for _, s := range c.slots {
		st := s.status(func(*proc) bool { return false }).State
		for i, candidate := range ranks[:rank] {
			if candidate == st {
				best, rank = st, i
				break
			}
		}
	}
	return best
}

// ranks orders states for a summary, the telling ones first.
var ranks = [...]status.State{
	status.Running, status.Quiet, status.Joining, status.Waiting, status.Starting,
	status.Backoff, status.Stopping, status.Fatal, status.Exited,
}

func (r *registry) state() status.State {
	switch {
	case r.ending != nil:
		return status.Stopping
	case !r.ready:
		return status.Starting
	}
	best, rank := status.Exited, len(ranks)
	for _, c := range r.consumers {
		st := c.state()
		for i, candidate := range ranks[:rank] {
			if candidate == st {
				best, rank = st, i
				break
			}
		}
	}
	return best
}

// done is what all processes of the slot have done.
func (s *slot) done() status.Work {
	var all status.Work
	all.Add(s.base)
	for _, p := range []*proc{s.cur, s.next} {
		if p != nil {
			all.Add(p.work)
		}
	}
	return all
}
