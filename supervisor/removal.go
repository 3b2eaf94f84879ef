package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// prepareRemoval starts the process that removes the members of a consumer at the end of
// a shutdown, so that it has come up by then.
func (s *Supervisor) prepareRemoval(e fleet.PrepareRemoval) {
	h, err := s.startRemover(e.Consumer, e.Image)
	if err != nil {
		return // retried, and reported, when it is needed
	}
	s.removers[e.Consumer.Name] = h
	h.exited = func(time.Time, fleet.Exit) { delete(s.removers, e.Consumer.Name) }
}

func (s *Supervisor) startRemover(c wire.Consumer, image fleet.Image) (*helper, error) {
	return s.startHelper(process.Spec{
		Role: wire.RoleLeave, Argv: []string{"racecar: leaving " + c.Name}, Image: s.images[image.ID], Env: []string{"GOMAXPROCS=1"},
	}, "leaving the group of "+c.Name, time.Hour)
}

// removeMembers removes the members of workers that are gone from their group.
func (s *Supervisor) removeMembers(e fleet.RemoveMembers) {
	failed := func(err error) {
		s.logf(logrus.WarnLevel, "members were not removed from their group; it waits for them for session_timeout",
			logrus.Fields{"consumer": e.Consumer.Name, "members": len(e.Members), "error": err.Error()})
	}
	over := func(now time.Time) {
		if e.Final {
			s.step(now, fleet.MembersRemoved{})
		}
	}
	h := s.removers[e.Consumer.Name]
	if h == nil || !e.Final {
		var err error
		if h, err = s.startRemover(e.Consumer, e.Image); err != nil {
			failed(err)
			over(time.Now())
			return
		}
	}
	if e.Final {
		delete(s.removers, e.Consumer.Name)
	}
	h.expire(s, e.Within+time.Second)
	h.answer = wire.KindReply
	replied := false
	h.message = func(_ time.Time, env wire.Envelope) error {
		var reply wire.Reply
		if err := env.Decode(&reply); err != nil {
			return err
		}
		replied = true
		if reply.Error != "" {
			failed(errors.New(reply.Error))
		}
		h.finish()
		return nil
	}
	h.exited = func(now time.Time, exit fleet.Exit) {
		if !replied {
			failed(fmt.Errorf("the process that was to do it ended first: %s", exit))
		}
		over(now)
	}
	if err := h.child.send(wire.KindLeave, wire.Leave{Consumer: e.Consumer, Members: e.Members, Within: e.Within}); err != nil {
		failed(err) // cannot happen: nothing was sent before
	}
}
