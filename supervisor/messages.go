package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// This file makes events for the fleet of what workers send and of their exits.

func (s *Supervisor) received(now time.Time, m message) {
	if m.child.id == 0 {
		s.helperReceived(now, m)
		return
	}
	if s.workers[m.child.id] != m.child {
		return // it has exited, and what it sent last was read late
	}
	event, err := s.decode(m.child, m.env)
	switch {
	case err != nil:
		s.endForProtocolError(now, protocolError{m.child, err})
	case event != nil:
		s.step(now, event)
	}
}

// decode makes an event of a worker's message; nil: there is none.
func (s *Supervisor) decode(c *child, env wire.Envelope) (fleet.Event, error) {
	switch env.Kind {
	case wire.KindFrame, wire.KindMembers, wire.KindMetrics, wire.KindReply, wire.KindOutage, wire.KindProbed:
		if c.version == 0 {
			return nil, fmt.Errorf("%q before it said which version of the protocol it speaks", env.Kind)
		}
	}
	switch env.Kind {
	case wire.KindHello:
		var hello wire.Hello
		if err := env.Decode(&hello); err != nil {
			return nil, err
		}
		if offered := wire.Supported(); !offered.Contains(hello.Version) {
			return nil, fmt.Errorf("it speaks version %d, of %s", hello.Version, offered)
		}
		c.version = hello.Version
		return nil, nil
	case wire.KindFrame:
		e := fleet.FrameReceived{Proc: c.id}
		return e, env.Decode(&e.Frame)
	case wire.KindMembers:
		e := fleet.MembersChanged{Proc: c.id}
		return e, env.Decode(&e.Members)
	case wire.KindMetrics:
		var m wire.Metrics
		if err := env.Decode(&m); err != nil {
			return nil, err
		}
		s.takeMetrics(c, m)
		return nil, nil
	case wire.KindOutage:
		e := fleet.OutageReported{Proc: c.id}
		return e, env.Decode(&e.Outage)
	case wire.KindProbed:
		e := fleet.ProbeEnded{Proc: c.id}
		return e, env.Decode(&e.Probed)
	case wire.KindExitReason:
		e := fleet.ExitReasonReceived{Proc: c.id}
		return e, env.Decode(&e.Reason)
	case wire.KindReply:
		var reply wire.Reply
		if err := env.Decode(&reply); err != nil {
			return nil, err
		}
		s.replied(reply.ID, reply, nil)
		return nil, nil
	default:
		s.ignored(c, env.Kind)
		return nil, nil
	}
}

// ignored counts a message of a kind that this release does not know.
func (s *Supervisor) ignored(c *child, kind wire.Kind) {
	c.process.CountUnknownMessage()
	if !c.ignoredOne {
		c.ignoredOne = true
		s.logf(logrus.InfoLevel, "ignored a message of a kind that this release does not know; further ones are only counted",
			logrus.Fields{"pid": c.process.PID(), "kind": string(kind)})
	}
}

// endForProtocolError ends a process that does not speak our protocol.
func (s *Supervisor) endForProtocolError(now time.Time, e protocolError) {
	if e.child.id == 0 {
		s.signalChild(e.child, syscall.SIGKILL)
		return
	}
	s.step(now, fleet.ProtocolViolated{Proc: e.child.id, Err: e.err})
}

func (s *Supervisor) exited(now time.Time, e exited) {
	p := e.child.process
	defer func() {
		if err := p.Close(); err != nil {
			s.logf(logrus.WarnLevel, "a process that ended could not be cleaned up", logrus.Fields{"pid": p.PID(), "error": err.Error()})
		}
	}()
	if e.child.id == 0 {
		s.helperExited(now, e)
		return
	}
	delete(s.workers, e.child.id)
	s.stopMetrics(e.child)
	for id, w := range s.pending {
		if w.child == e.child {
			s.replied(id, wire.Reply{}, errGone)
		}
	}
	stderr, headline := p.Stderr()
	s.step(now, fleet.Exited{
		Proc: e.child.id, Exit: e.exit,
		OOM:    e.exit.Signal == syscall.SIGKILL && !e.child.signaled && s.oom.Claim(s.opts.Spawner),
		InHand: p.InHand(), Work: p.Work(), Stderr: stderr, Headline: headline,
	})
}
