package fleet

import (
	"fmt"
	"log/slog"

	"github.com/racecar-go/racecar/internal/status"
)

// This file handles what workers send.

func (e FrameReceived) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	s, before, frame := p.slot, p.frame, e.Frame
	p.lastSeen = f.now
	if p.booted.IsZero() {
		p.booted = f.now
	}
	if frame.State == status.Standby && s.standby != p { // written before it was given the slot
		frame.State = status.Starting
	}
	p.frame = frame
	if frame.State != before.State {
		p.since = f.now
	}
	if frame.State != before.State || frame.Detail != before.Detail {
		f.reportState(p)
	}
	if frame.State == status.Exited && p.stays && !p.finished {
		f.stoppedAndStays(p)
	}
	if s.active == p && s.up() {
		s.consumer.wasReady = true
	}
}

// reportState logs a change of state.
func (f *Fleet) reportState(p *proc) {
	fields := map[string]any{"state": p.frame.State}
	if p.frame.Detail != "" {
		fields["detail"] = p.frame.Detail
	}
	level := slog.LevelDebug
	if p.frame.State == status.Running || p.frame.State == status.Waiting {
		level = slog.LevelInfo
	}
	if p.slot.active == p {
		f.log(level, "worker changed state", p.slot, fields)
	}
	f.progress(p.slot, string(p.frame.State), p.frame.Detail)
}

func (f *Fleet) logStopped(p *proc) {
	f.log(slog.LevelInfo, "worker stopped", p.slot, map[string]any{"pid": p.pid, "reason": string(p.stopping)})
}

func (e MembersChanged) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	p.lastSeen = f.now
	p.members = e.Members
	if !p.membersKnown && len(e.Members) > 0 {
		p.membersKnown = true
		p.slot.orphanedMembers = nil // it took them over or removed them
	}
}

func (e ExitReasonReceived) apply(f *Fleet) {
	if p := f.procs[e.Proc]; p != nil {
		p.exitReason = &e.Reason
	}
}

func (e ReportReceived) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	p.lastSeen = f.now
	p.report = &e.Report
	if c := p.slot.consumer; c.suspects.forgetPassed(e.Report.Partitions) {
		f.sendSuspects(c)
	}
}

func (e ProtocolViolated) apply(f *Fleet) {
	if p := f.procs[e.Proc]; p != nil {
		f.beginEscalation(p, nil, protocol, fmt.Sprintf("does not speak our protocol: %v", e.Err), killStep)
	}
}

func (e Counted) apply(f *Fleet) {
	for id, work := range e {
		if p := f.procs[id]; p != nil {
			p.work = work
		}
	}
}
