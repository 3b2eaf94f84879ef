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
)

func (s *Supervisor) received(now time.Time, e received) {
	p := s.procs[e.child]
	if p == nil {
		s.shotReceived(now, e)
		return
	}
	if err := s.takeMessage(now, p, e.env); err != nil {
		s.broken(now, broken{e.child, err})
	}
}

func (s *Supervisor) takeMessage(now time.Time, p *proc, env wire.Envelope) error {
	c := s.children[p]
	switch env.Kind {
	case wire.KindFrame, wire.KindMembers, wire.KindReply:
		if c.version == 0 {
			return fmt.Errorf("%q before it said which version of the protocol it speaks", env.Kind)
		}
	}
	switch env.Kind {
	case wire.KindHello:
		var hello wire.Hello
		if err := env.Decode(&hello); err != nil {
			return err
		}
		if offered := wire.Supported(); !offered.Contains(hello.Version) {
			return fmt.Errorf("it speaks version %d, of %s", hello.Version, offered)
		}
		c.version = hello.Version
	case wire.KindFrame:
		var f wire.Frame
		if err := env.Decode(&f); err != nil {
			return err
		}
		s.reg.frame(now, p, f)
	case wire.KindMembers:
		var places []status.Member
		if err := env.Decode(&places); err != nil {
			return err
		}
		s.reg.placesAre(now, p, places)
	case wire.KindExitReason:
		var last wire.ExitReason
		if err := env.Decode(&last); err != nil {
			return err
		}
		s.reg.lastWords(now, p, last)
	case wire.KindReply:
		var reply wire.Reply
		if err := env.Decode(&reply); err != nil {
			return err
		}
		s.answered(reply.ID, reply, nil)
	default:
		s.ignored(c, env.Kind)
	}
	return nil
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
	p := s.procs[e.child]
	if p == nil {
		s.signalChild(e.child, syscall.SIGKILL)
		return
	}
	s.reg.now = now
	s.reg.put(p, "protocol", fmt.Sprintf("does not speak our protocol: %v", e.err), killRung)
}

func (s *Supervisor) gone(now time.Time, e gone) {
	defer func() {
		if err := e.child.process.Close(); err != nil {
			s.logf(logrus.WarnLevel, "a process that ended could not be cleaned up", logrus.Fields{"pid": e.child.process.PID(), "error": err.Error()})
		}
	}()
	p := s.procs[e.child]
	if p == nil {
		s.shotGone(now, e)
		return
	}
	delete(s.procs, e.child)
	delete(s.children, p)
	for id, w := range s.pending {
		if w.proc == p {
			s.answered(id, wire.Reply{}, errGone)
		}
	}
	stderr, headline := e.child.process.Stderr()
	s.sweep = true
	s.reg.now = now
	s.reg.ended(p, remains{
		exit:   e.exit,
		oom:    e.exit.Signal == syscall.SIGKILL && p.killed == "" && s.oom.Explains(s.opts.Spawner),
		inHand: e.child.process.InHand(),
		work:   e.child.process.Work(),
		stderr: stderr, headline: headline,
	})
}

// waiter is told how a command went. It belongs to a process, whose end is an
// answer too.
type waiter struct {
	proc *proc
	done func(wire.Reply, error)
}

// errGone answers commands to a process that ended before it did.
var errGone = errors.New("the worker ended")

// sendCommand sends a command whose reply, if nobody waits for it, is looked at
// for errors.
func (s *Supervisor) sendCommand(p *proc, cmd wire.Command) {
	c := s.children[p]
	if _, waited := s.pending[cmd.ID]; !waited && cmd.Kind != wire.CommandStop && c != nil {
		s.pending[cmd.ID] = waiter{p, func(reply wire.Reply, err error) { s.unawaited(p, cmd.Kind, reply, err) }}
	}
	err := errGone
	if c != nil {
		err = c.send(wire.KindCommand, cmd)
	}
	if err != nil {
		s.answered(cmd.ID, wire.Reply{}, err)
	}
}

// unawaited takes the reply to a command that was not asked for by anybody.
func (s *Supervisor) unawaited(p *proc, kind wire.CommandKind, reply wire.Reply, err error) {
	if err == nil && reply.Error != "" {
		err = errors.New(reply.Error)
	}
	switch {
	case err == nil && kind == wire.CommandStatus:
		s.takeReport(p, reply)
	case err != nil && !errors.Is(err, errGone):
		s.logf(logrus.WarnLevel, "command did not succeed", logrus.Fields{"worker": p.name(), "pid": p.pid, "command": string(kind), "error": err.Error()})
	}
}

func (s *Supervisor) answered(id uint64, reply wire.Reply, err error) {
	if w, ok := s.pending[id]; ok {
		delete(s.pending, id)
		w.done(reply, err)
	}
}

// takeReport reads the reply to a status command.
func (s *Supervisor) takeReport(p *proc, reply wire.Reply) {
	var rep status.Report
	if err := json.Unmarshal(reply.Data, &rep); err != nil {
		s.logf(logrus.WarnLevel, "report was not understood", logrus.Fields{"worker": p.name(), "pid": p.pid, "error": err.Error()})
		return
	}
	s.reg.reported(time.Now(), p, rep)
}

// broadcast sends a command to all workers that take any.
func (s *Supervisor) broadcast(cmd wire.Command) {
	for p := range s.reg.procs() {
		s.reg.command(p, cmd)
	}
}
