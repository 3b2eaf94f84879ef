package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// This file sends commands to workers and assigns the replies to them.

// pendingCommand waits for the reply to a command. The exit of the process is a reply too.
type pendingCommand struct {
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
		s.pending[s.lastID] = pendingCommand{c, s.replies[e.Ref].expect(s, c, e.Command.Kind)}
	case e.Command.Kind != wire.CommandStop:
		s.pending[s.lastID] = pendingCommand{c, func(reply wire.Reply, err error) { s.takeReply(c, e.Command.Kind, reply, err) }}
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

// expect counts a command and returns what takes its reply.
func (r *replies) expect(s *Supervisor, c *child, kind wire.CommandKind) func(wire.Reply, error) {
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

// answered takes the fleet's answer to a request.
func (s *Supervisor) answered(e fleet.Answer) {
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
