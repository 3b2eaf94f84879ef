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

// prepareLeave starts the process that is to remove the members of a consumer
// at the end of a whole stop, so that it has come up by then.
func (s *Supervisor) prepareLeave(e doPrepareLeave) {
	shot, err := s.shootLeave(e.consumer, e.image)
	if err != nil {
		return // tried again, and reported, when it is needed
	}
	s.leavers[e.consumer.Name] = shot
	shot.gone = func(time.Time, fleet.Exit) { delete(s.leavers, e.consumer.Name) }
}

func (s *Supervisor) shootLeave(c wire.Consumer, image process.Image) (*oneShot, error) {
	return s.shoot(process.Spec{
		Role: wire.RoleLeave, Argv: []string{"racecar: leaving " + c.Name}, Image: image, Env: []string{"GOMAXPROCS=1"},
	}, "leaving the group of "+c.Name, time.Hour)
}

// leave removes places of workers that are gone.
func (s *Supervisor) leave(e doLeave) {
	failed := func(err error) {
		s.logf(logrus.WarnLevel, "members were not removed from their group; it waits for them for session_timeout",
			logrus.Fields{"consumer": e.consumer.Name, "members": len(e.places), "error": err.Error()})
	}
	over := func(now time.Time) {
		if e.final {
			s.reg.leaveDone(now)
		}
	}
	shot := s.leavers[e.consumer.Name]
	delete(s.leavers, e.consumer.Name)
	if shot == nil || !e.final {
		var err error
		if shot, err = s.shootLeave(e.consumer, e.image); err != nil {
			failed(err)
			over(time.Now())
			return
		}
	}
	shot.expire(s, e.within+time.Second)
	answered := false
	shot.answer = wire.KindReply
	shot.message = func(_ time.Time, env wire.Envelope) error {
		var reply wire.Reply
		if err := env.Decode(&reply); err != nil {
			return err
		}
		answered = true
		if reply.Error != "" {
			failed(errors.New(reply.Error))
		}
		shot.finish()
		return nil
	}
	shot.gone = func(now time.Time, exit fleet.Exit) {
		if !answered {
			failed(fmt.Errorf("the process that was to do it ended first: %s", exit))
		}
		over(now)
	}
	if err := shot.child.send(wire.KindLeave, wire.Leave{Consumer: e.consumer, Members: e.places, Within: e.within}); err != nil {
		failed(err) // cannot be: nothing was sent before
	}
}
