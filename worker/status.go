package worker

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// This file tells the supervisor the worker's state and that of its partitions.

// maxProblems is how many recent errors a report holds.
const maxProblems = 20

// state is the worker's state: the least of its memberships, unless a state of the whole
// worker overrides it.
func (w *worker) state() (status.State, string) {
	switch {
	case w.finished.Load():
		return status.Exited, ""
	case w.stopAt.Load() != nil:
		return status.Stopping, ""
	}
	if reason := w.unmade.Load(); reason != nil {
		return status.Waiting, *reason
	}
	if !w.constructed.Load() {
		return status.Starting, ""
	}
	if w.standby.Load() {
		return status.Standby, ""
	}
	state, detail := status.Running, ""
	order := map[status.State]int{status.Waiting: 0, status.Joining: 1, status.Running: 2}
	for _, m := range w.memberships {
		if s, d := m.stateNow(); order[s] < order[state] {
			state, detail = s, d
		}
	}
	if state == status.Running && w.quiet.Load() {
		state = status.Quiet
	}
	return state, detail
}

// sendFrame sends a frame at once.
func (w *worker) sendFrame() {
	if w.sender != nil {
		w.sender.sendFrame(w.frame())
	}
}

// sendFrames sends one a second.
func (w *worker) sendFrames(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		w.noteCPU()
		w.sendFrame()
		w.outagesChanged()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// noteCPU counts the CPU time of this process.
func (w *worker) noteCPU() {
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		w.stats.SetCPU(time.Duration(use.Utime.Nano() + use.Stime.Nano()))
	}
}

func (w *worker) frame() wire.Frame {
	state, detail := w.state()
	return wire.Frame{State: state, Detail: detail, Live: w.isLive()}
}

// isLive reports whether no call takes longer than max_poll_interval.
func (w *worker) isLive() bool {
	for _, c := range w.board.InHand() {
		if c.Since > w.cfg.MaxPollInterval {
			return false
		}
	}
	return true
}

// inHand describes the calls in hand.
func (w *worker) inHand() string {
	var calls []string
	for _, c := range w.board.InHand() {
		calls = append(calls, fmt.Sprintf("%s/%d offset %d for %v", c.Topic, c.Partition, c.FirstOffset, c.Since.Round(time.Millisecond)))
	}
	if len(calls) == 0 {
		return "no call was in hand"
	}
	return "in hand: " + strings.Join(calls, ", ")
}

// membersChanged reports the worker's members to the supervisor.
func (w *worker) membersChanged() { w.sender.sendMembers(w.heldMembers()) }

// heldMembers are our members, and those of predecessors that a membership has still to
// remove or to take over: the supervisor takes the first report as a sign that it need not
// remember the predecessors' members any more.
func (w *worker) heldMembers() []status.Member {
	held := w.groupMembers()
	for _, p := range w.opts.Handshake.Predecessors {
		same := func(own status.Member) bool {
			return p.InstanceID != "" && own.InstanceID == p.InstanceID && own.Group == p.Group
		}
		if !w.responsible(p).removedStale.Load() && !slices.ContainsFunc(held, same) {
			held = append(held, p)
		}
	}
	return held
}

func (w *worker) groupMembers() []status.Member {
	var members []status.Member
	for _, m := range w.memberships {
		if p, ok := m.groupMember(); ok {
			members = append(members, p)
		}
	}
	return members
}

// problem notes an error for the report.
func (w *worker) problem(k topicPartition, offset int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, status.Problem{At: time.Now(), Topic: k.topic, Partition: k.partition, Offset: offset, Error: oneLine(err)})
	if over := len(w.problems) - maxProblems; over > 0 {
		w.problems = append([]status.Problem(nil), w.problems[over:]...)
	}
}

// statusReport is what the worker knows of itself.
func (w *worker) statusReport() status.Report {
	r := status.Report{
		At: time.Now(), Members: w.groupMembers(), Live: w.isLive(),
		InHand: len(w.board.InHand()), Concurrency: w.cfg.Concurrency,
	}
	if o := w.cfg.Ordering; o != config.OrderingPartition {
		r.Ordering = string(o)
	}
	w.noteCPU()
	work := w.stats.Work()
	r.Counters, r.Histogram, r.CPU = work.Counters, work.Times, work.CPU
	for _, p := range w.scheduler.all() {
		r.Partitions = append(r.Partitions, w.partitionReport(p))
	}
	w.mu.Lock()
	r.Problems = append(r.Problems, w.problems...)
	w.mu.Unlock()
	r.RSS = residentBytes()
	if w.opts.LogProblem != nil {
		r.LogProblem = w.opts.LogProblem()
	}
	return r
}

func (w *worker) partitionReport(p *partition) status.Partition {
	s := status.Partition{
		Topic: p.topic, Partition: p.partition,
		Position:  p.acks.processed.Load(),
		Committed: p.committed.Load(),
		End:       p.endOffset(), Lag: p.lag(),
		Rate:      math.Float64frombits(p.rate.Load()),
		Stalled:   p.stalled.Load(),
		Processed: p.messages.Load(),
		Errors:    p.errors.Load(),
		Retries:   p.retries(),
	}
	_, s.InFlight = p.acks.state()
	t := w.scheduler
	t.mu.Lock()
	if s.Lag > 0 {
		s.LagSeconds = p.age(t.clock.now()).Seconds()
	}
	p.holds.expire(t.clock.now())
	p.holds.show(&s)
	if p.lanes != nil {
		p.lanes.report(&s)
	}
	t.mu.Unlock()
	p.mu.Lock()
	s.LastError = p.lastError
	p.mu.Unlock()
	return s
}

// residentBytes is the resident memory of this process, 0 where it is not known.
func residentBytes() int64 {
	pages, _ := procStatm()
	return pages * int64(unix.Getpagesize())
}
