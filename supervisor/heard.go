package supervisor

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// handshake is what p is told first.
func (r *registry) handshake(p *proc) wire.Handshake {
	c := p.slot.consumer
	h := wire.Handshake{
		Versions:     wire.Supported(),
		Consumer:     p.rel.consumer,
		Index:        p.slot.index,
		Predecessors: p.slot.left,
		Suspects:     c.suspects.list(),
		Paused:       c.paused,
		Quiet:        c.quiet,
		LogLevel:     r.logLevel,
		StartedAt:    r.started,
		Standby:      p.slot.next == p,
		// A release that has not run here yet is refused for what a known one waits for.
		WasReady: c.wasReady && p.rel == p.slot.rel,
	}
	switch cfg := p.rel.config(); cfg.Membership {
	case config.MembershipDynamic:
	case config.MembershipHost:
		h.Nonce = cfg.StaticID
		if h.Nonce == "" {
			h.Nonce = r.host
		}
	default:
		h.Nonce = r.nonce
	}
	return h
}

// frame takes a sign of life.
func (r *registry) frame(now time.Time, p *proc, f wire.Frame) {
	r.now = now
	p.heard = now
	if p.booted.IsZero() {
		p.booted = now
	}
	before := p.frame
	if f.State == status.Standby && p.slot.next != p { // written before it was given the slot
		f.State = status.Starting
	}
	p.frame = f
	if f.State != before.State {
		p.since = now
	}
	if f.State != before.State || f.Detail != before.Detail {
		fields := logrus.Fields{"state": f.State}
		if f.Detail != "" {
			fields["detail"] = f.Detail
		}
		level := logrus.DebugLevel
		if f.State == status.Running || f.State == status.Waiting {
			level = logrus.InfoLevel
		}
		if p.slot.cur == p {
			r.log(level, "worker changed state", p.slot, fields)
		}
		r.progress(p.slot, string(f.State), f.Detail)
	}
	if f.State == status.Exited && p.stays && !p.finished {
		p.finished = true
		r.logStopped(p)
		r.checkEnd()
	}
	if p.slot.cur == p && p.slot.up() {
		p.slot.consumer.wasReady = true
	}
	if f.State == status.Standby && before.State != status.Standby {
		r.standsBy(p)
	}
	r.checkReady()
	r.rollFrame(p)
}

// placesAre takes the memberships of p, after each change.
func (r *registry) placesAre(now time.Time, p *proc, places []status.Member) {
	r.now = now
	p.heard = now
	p.places = places
	if !p.told && len(places) > 0 {
		p.told = true
		p.slot.left = nil // p took them over or removed them
	}
}

// lastWords notes why p is about to exit.
func (r *registry) lastWords(now time.Time, p *proc, last wire.ExitReason) {
	r.now = now
	p.last = &last
}

// reported takes p's answer to a status command.
func (r *registry) reported(now time.Time, p *proc, rep status.Report) {
	r.now = now
	p.heard = now
	p.report = &rep
	c := p.slot.consumer
	if c.suspects.passed(rep.Partitions) {
		r.tellSuspects(c)
	}
}
