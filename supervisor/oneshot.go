package supervisor

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
)

// planWithin bounds the look at a new program; a launcher may have to build it.
const planWithin = 10 * time.Minute

// oneShot is a child that does one thing and ends: it loads a plan, or leaves
// groups.
type oneShot struct {
	child   *child
	what    string
	message func(time.Time, wire.Envelope) error
	// gone is called once, when it has ended.
	gone  func(time.Time, Exit)
	limit *time.Timer
}

// shoot starts a one-shot. It is killed when it takes longer than within.
func (s *Supervisor) shoot(spec Spec, what string, within time.Duration) (*oneShot, error) {
	process, err := s.opts.Spawner.Spawn(spec)
	if err != nil {
		return nil, err
	}
	shot := &oneShot{child: adopt(process, s.deliver, &s.wg), what: what}
	s.shots[shot.child] = shot
	shot.expire(s, within)
	return shot, nil
}

// expire kills the one-shot after that time.
func (o *oneShot) expire(s *Supervisor, within time.Duration) {
	if o.limit != nil {
		o.limit.Stop()
	}
	o.limit = time.AfterFunc(within, func() {
		s.deliver(func(time.Time) {
			if s.shots[o.child] != nil {
				s.logf(logrus.WarnLevel, "a helper process took too long and was killed", logrus.Fields{"pid": o.child.process.PID(), "for": o.what})
				s.signalChild(o.child, syscall.SIGKILL)
			}
		})
	})
}

// finish lets the one-shot end: it sees EOF.
func (o *oneShot) finish() { _ = o.child.process.Socket().Close() }

func (s *Supervisor) shotReceived(now time.Time, e received) {
	shot := s.shots[e.child]
	if shot == nil || shot.message == nil {
		return
	}
	if err := shot.message(now, e.env); err != nil {
		s.logf(logrus.WarnLevel, "message of a helper process was not understood", logrus.Fields{"for": shot.what, "error": err.Error()})
	}
}

func (s *Supervisor) shotGone(now time.Time, e gone) {
	shot := s.shots[e.child]
	delete(s.shots, e.child)
	shot.limit.Stop()
	if shot.gone != nil {
		shot.gone(now, e.exit)
	}
}

// prepareLeave starts the process that is to remove the members of a consumer
// at the end of a whole stop, so that it has come up by then.
func (s *Supervisor) prepareLeave(e doPrepareLeave) {
	shot, err := s.shootLeave(e.consumer, e.image)
	if err != nil {
		return // tried again, and reported, when it is needed
	}
	s.leavers[e.consumer.Name] = shot
	shot.gone = func(time.Time, Exit) { delete(s.leavers, e.consumer.Name) }
}

func (s *Supervisor) shootLeave(c wire.Consumer, image Image) (*oneShot, error) {
	return s.shoot(Spec{
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
	shot.gone = func(now time.Time, exit Exit) {
		if !answered {
			failed(fmt.Errorf("the process that was to do it ended first: %s", exit))
		}
		over(now)
	}
	if err := shot.child.send(wire.KindLeave, wire.Leave{Config: e.consumer.Config, Places: e.places, Within: e.within}); err != nil {
		failed(err) // cannot be: nothing was sent before
	}
}

// planning is a look at a new program under way.
type planning struct {
	// again are those that asked meanwhile; they are served afterwards.
	again []func()
}

// restart looks at the program anew and rolls to what it says. only names a
// consumer, empty is all; with ifChanged nothing happens unless something
// changed. done is called once, by the loop.
func (s *Supervisor) restart(only string, ifChanged bool, done func(error)) {
	switch {
	case s.reg.ending != nil:
		done(errStopping)
		return
	case s.planning != nil:
		s.planning.again = append(s.planning.again, func() { s.restart(only, ifChanged, done) })
		return
	case s.reg.roll != nil:
		s.rolling = append(s.rolling, func(error) { s.restart(only, ifChanged, done) })
		return
	}
	s.planning = &planning{}
	s.watchers.tell(Progress{At: time.Now(), Step: "checking", Detail: "the program and its configuration"})
	s.plan(func(now time.Time, plan wire.Plan, image Image, err error) {
		again := s.planning.again
		s.planning = nil
		if err == nil {
			for _, w := range plan.Warnings {
				s.logf(logrus.WarnLevel, "configuration", logrus.Fields{"warning": w})
			}
			err = s.reg.rollTo(now, plan, image, only, ifChanged)
			if err != nil {
				_ = image.Close()
			} else {
				s.images = append(s.images, image)
			}
		}
		if err != nil {
			done(err)
		} else {
			s.rolling = append(s.rolling, done)
		}
		for _, f := range again {
			f()
		}
	})
}

// plan runs the program as it is found now, with the command line of the start,
// to load and validate everything. On success the image is the caller's.
func (s *Supervisor) plan(done func(time.Time, wire.Plan, Image, error)) {
	now := time.Now()
	image, err := s.opts.Spawner.Look()
	if err != nil {
		done(now, wire.Plan{}, nil, err)
		return
	}
	shot, err := s.shoot(Spec{Role: wire.RolePlan, Argv: s.opts.PlanArgv, Image: image}, "loading the new configuration", planWithin)
	if err != nil {
		_ = image.Close()
		done(now, wire.Plan{}, nil, fmt.Errorf("start %s: %w", image, err))
		return
	}
	var got *wire.Plan
	shot.message = func(_ time.Time, env wire.Envelope) error {
		var plan wire.Plan
		if err := env.Decode(&plan); err != nil {
			return err
		}
		got = &plan
		// What was found under the name may be a launcher, which built a program and
		// became it: workers are started from that.
		if real, err := shot.child.process.Image(); err == nil {
			_ = image.Close()
			image = real
		}
		shot.finish()
		return nil
	}
	shot.gone = func(now time.Time, exit Exit) {
		switch {
		case s.reg.ending != nil:
			err = errStopping
		case got == nil:
			err = fmt.Errorf("%s could not load the configuration: %s%s", image, exit, colon(shot.child.process.Stderr()))
		case got.Error != "":
			err = errors.New(got.Error)
		}
		if err != nil {
			_ = image.Close()
			done(now, wire.Plan{}, nil, err)
			return
		}
		done(now, *got, image, nil)
	}
}

// colon appends a headline to an error text.
func colon(_, headline string) string {
	if headline == "" {
		return ""
	}
	return ": " + headline
}

// rollEnded tells those who wait for a roll, and closes images that are out of
// use.
func (s *Supervisor) rollEnded(err error) {
	step, detail := "done", ""
	if err != nil {
		step, detail = "failed", err.Error()
	}
	s.watchers.tell(Progress{At: time.Now(), Step: step, Detail: detail})
	s.closeImages()
	waiting := s.rolling
	s.rolling = nil
	for _, done := range waiting {
		done(err)
	}
}

func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}
