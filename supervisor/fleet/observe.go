package fleet

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// This file judges processes by what can be seen of them.

const (
	// ObserveEvery is how often Observed comes.
	ObserveEvery = time.Second
	// LeastSilence is what no worker_timeout goes below: frames come once a second, and
	// may be late.
	LeastSilence = 3 * time.Second
	// joinGrace is what joining may take beyond max_poll_interval: the broker waits that
	// long for the other members, and then answers.
	joinGrace = 30 * time.Second
	// memoryPause is the least time between two replacements of one slot for its memory:
	// a limit below what an idle worker takes must not become a restart loop.
	memoryPause = time.Minute
)

func (e Observed) apply(f *Fleet) {
	for _, o := range e {
		if p := f.procs[o.Proc]; p != nil {
			f.observe(p, o)
		}
	}
	f.askAboutSuspects()
}

// observe judges a process by what can be seen of it.
func (f *Fleet) observe(p *proc, o Observation) {
	p.inHand = o.InHand
	if o.RSS > 0 {
		p.rss = o.RSS
	}
	if o.Received.After(p.lastSeen) {
		p.lastSeen = o.Received
	}
	cfg := p.release.config()
	if !o.Unread {
		f.judgeSilence(p, o.Stopped)
	}
	if limit := p.release.joinLimit(); p.frame.State == status.Joining && f.now.Sub(p.since) > limit && p.stopping == "" {
		f.beginEscalation(p, nil, joinStuck, fmt.Sprintf("joining the group for more than max_poll_interval + %v (%v)", joinGrace, limit), quitStep, killStep)
	}
	f.judgeCalls(p, cfg.MaxPollInterval)
	f.judgeMemory(p, cfg.WorkerMemoryLimit)
}

// judgeSilence finds processes that do not boot or are frozen.
func (f *Fleet) judgeSilence(p *proc, stoppedBySignal bool) {
	cfg := p.release.config()
	silent := f.now.Sub(p.lastSeen)
	switch {
	case p.booted.IsZero():
		if f.now.Sub(p.assigned) >= cfg.WorkerBootTimeout {
			f.beginEscalation(p, nil, bootTimeout, fmt.Sprintf("no sign of life within worker_boot_timeout (%v) after its start", cfg.WorkerBootTimeout), quitStep, killStep)
		}
	case p.frame.State == status.Starting && p.stopping == "" && f.now.Sub(p.since) >= cfg.WorkerBootTimeout:
		f.beginEscalation(p, nil, bootTimeout, fmt.Sprintf("the constructor has not returned within worker_boot_timeout (%v)", cfg.WorkerBootTimeout), dumpStep, quitStep, killStep)
	case p.slot.standby == p && p.frame.State != status.Starting && p.frame.State != status.Standby && p.stopping == "" && f.now.Sub(p.since) >= cfg.WorkerBootTimeout:
		f.beginEscalation(p, nil, bootTimeout, fmt.Sprintf("it has to stand by, and has been %s for worker_boot_timeout (%v)", p.frame.State, cfg.WorkerBootTimeout), quitStep, killStep)
	case silent < max(cfg.WorkerTimeout, LeastSilence):
	case stoppedBySignal:
		f.beginEscalation(p, nil, frozenStopped, fmt.Sprintf("frozen: stopped by a signal, no sign of life for %v", silent.Round(time.Second)), killStep)
	default:
		f.beginEscalation(p, nil, frozen, fmt.Sprintf("frozen: no sign of life for %v (worker_timeout %v)", silent.Round(time.Second), cfg.WorkerTimeout), quitStep, killStep)
	}
}

// judgeCalls finds handlers that do not return.
func (f *Fleet) judgeCalls(p *proc, limit time.Duration) {
	if x := p.escalation; x != nil && x.call != nil && p.killed == "" && !slices.ContainsFunc(p.inHand, func(c scoreboard.Call) bool {
		return c.Since > limit && *x.call == p.call(c)
	}) {
		p.escalation = nil // cancelling was enough; another call has an escalation of its own
		f.log(slog.LevelInfo, "handler returned after its ctx was cancelled", p.slot, nil)
	}
	var longest scoreboard.Call
	for _, c := range p.inHand {
		if c.Since > longest.Since {
			longest = c
		}
	}
	if longest.Since <= limit || p.escalation != nil {
		return
	}
	call := p.call(longest)
	f.beginEscalation(p, &call, stuck, fmt.Sprintf("handler stuck: %s/%d offset %d in hand for more than max_poll_interval (%v)",
		longest.Topic, longest.Partition, longest.FirstOffset, limit), cancelStep, dumpStep, quitStep, killStep)
}

// call names a call to the worker.
func (p *proc) call(c scoreboard.Call) wire.Call {
	return wire.Call{Consumer: p.slot.consumer.name, Topic: c.Topic, Partition: c.Partition, FirstOffset: c.FirstOffset}
}

// judgeMemory replaces a worker above its limit, one at a time.
func (f *Fleet) judgeMemory(p *proc, limit int64) {
	s := p.slot
	switch {
	case limit <= 0 || p.rss <= limit || s.active != p || p.stopping != "" || f.rollout != nil || f.shutdown != nil:
		return
	case !s.replacedAt.IsZero() && f.now.Sub(s.replacedAt) < memoryPause:
		return
	case f.replacing != nil && f.replacing != s && f.replacing.unsettled():
		return // later
	}
	f.replacing, s.replacedAt = s, f.now
	text := fmt.Sprintf("memory: %d MiB, more than worker_memory_limit (%d MiB)", p.rss>>20, limit>>20)
	s.lastExit = text
	f.log(slog.LevelWarn, "worker is replaced", s, map[string]any{"reason": text})
	f.progress(s, string(stopMemory), text)
	f.stop(p, stopMemory, false)
}

// unsettled reports whether the slot's process is stopping or its successor is not up.
func (s *slot) unsettled() bool {
	if s.active == nil {
		return s.desired == running
	}
	switch s.active.frame.State {
	case status.Starting, status.Joining:
		return true
	}
	return s.active.stopping != ""
}
