package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

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
		s.broken(now, broken{m.child, err})
	case event != nil:
		s.step(now, event)
	}
}

// decode makes an event of a worker's message; nil: there is none.
func (s *Supervisor) decode(c *child, env wire.Envelope) (fleet.Event, error) {
	switch env.Kind {
	case wire.KindFrame, wire.KindMembers, wire.KindMetrics, wire.KindReply:
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

// broken ends a process that does not speak our protocol.
func (s *Supervisor) broken(now time.Time, e broken) {
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
		OOM:    e.exit.Signal == syscall.SIGKILL && !e.child.signaled && s.oom.Explains(s.opts.Spawner),
		InHand: p.InHand(), Work: p.Work(), Stderr: stderr, Headline: headline,
	})
}

// waiter waits for the reply to a command. The exit of the process is a reply too.
type waiter struct {
	child *child
	done  func(wire.Reply, error)
}

// errGone answers commands to a process that exited before it replied.
var errGone = errors.New("the worker exited")

// send sends a command to a worker.
func (s *Supervisor) send(e fleet.Command) {
	c := s.workers[e.Proc]
	if c == nil {
		return // it could not be started
	}
	s.lastID++
	e.Command.ID = s.lastID
	switch {
	case e.Ref != 0:
		s.pending[s.lastID] = waiter{c, s.replies[e.Ref].wait(s, c, e.Command.Kind)}
	case e.Command.Kind != wire.CommandStop:
		s.pending[s.lastID] = waiter{c, func(reply wire.Reply, err error) { s.takeReply(c, e.Command.Kind, reply, err) }}
	}
	if err := c.send(wire.KindCommand, e.Command); err != nil {
		s.replied(e.Command.ID, wire.Reply{}, err)
	}
}

// takeReply takes the reply to a command that nobody waits for.
func (s *Supervisor) takeReply(c *child, kind wire.CommandKind, reply wire.Reply, err error) {
	if err == nil && reply.Error != "" {
		err = errors.New(reply.Error)
	}
	switch {
	case err == nil && kind == wire.CommandStatus:
		s.takeReport(c, reply)
	case err != nil && !errors.Is(err, errGone):
		s.logf(logrus.WarnLevel, "command failed", logrus.Fields{"worker": c.name, "pid": c.process.PID(), "command": string(kind), "error": err.Error()})
	}
}

func (s *Supervisor) replied(id uint64, reply wire.Reply, err error) {
	if w, ok := s.pending[id]; ok {
		delete(s.pending, id)
		w.done(reply, err)
	}
}

// takeReport reads the reply to a status command.
func (s *Supervisor) takeReport(c *child, reply wire.Reply) {
	var report status.Report
	if err := json.Unmarshal(reply.Data, &report); err != nil {
		s.logf(logrus.WarnLevel, "report of a worker cannot be decoded", logrus.Fields{"worker": c.name, "pid": c.process.PID(), "error": err.Error()})
		return
	}
	s.step(time.Now(), fleet.ReportReceived{Proc: c.id, Report: report})
}

// replies collects the replies to the commands of one request.
type replies struct {
	open    int                   // commands that have none yet
	sealed  bool                  // no more commands follow
	reports map[fleet.ProcID]bool // who has reported
	errs    []error
	done    func(*replies)
}

// request hands an event to the fleet. done is called once, when the fleet has answered
// and all commands that it sent for the event are replied to.
func (s *Supervisor) request(now time.Time, event func(ref uint64) fleet.Event, done func(*replies)) {
	s.lastRef++
	s.replies[s.lastRef] = &replies{done: done, reports: map[fleet.ProcID]bool{}}
	s.step(now, event(s.lastRef))
}

// wait counts a command and returns what takes its reply.
func (r *replies) wait(s *Supervisor, c *child, kind wire.CommandKind) func(wire.Reply, error) {
	r.open++
	return func(reply wire.Reply, err error) {
		switch {
		case errors.Is(err, errGone): // its successor has it in its handshake
			err = nil
		case err == nil && reply.Error != "":
			err = errors.New(reply.Error)
		case err == nil && kind == wire.CommandStatus:
			s.takeReport(c, reply)
			r.reports[c.id] = true
		}
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s: %w", c.name, err))
		}
		r.open--
		r.finish()
	}
}

// seal takes the fleet's answer to a request.
func (s *Supervisor) seal(e fleet.Answer) {
	r := s.replies[e.Ref]
	delete(s.replies, e.Ref)
	r.sealed = true
	if e.Err != nil {
		r.errs = append(r.errs, e.Err)
	}
	r.finish()
}

func (r *replies) finish() {
	if r.sealed && r.open == 0 {
		r.done(r)
	}
}
