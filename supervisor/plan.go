package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
)

// planWithin bounds the look at a new program; a launcher may have to build it.
const planWithin = 10 * time.Minute

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
		done(now, wire.Plan{}, nil, notStarted(image, err))
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
			err = fmt.Errorf("%s could not load the configuration: %s%s%s", image, exit, colon(shot.child.process.Stderr()), halfCopied(exit))
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

// notStarted says why a program was not started. What the system was asked to
// execute is a descriptor of ours, which tells nobody anything.
func notStarted(image Image, err error) error {
	if path := new(os.PathError); errors.As(err, &path) {
		err = path.Err
	}
	hint := ""
	if errors.Is(err, syscall.ENOEXEC) {
		hint = ": it is no program for this system, or was not copied completely"
	}
	return fmt.Errorf("start %s: %w%s", image, err, hint)
}

// halfCopied explains how a program ends whose file lacks its end.
func halfCopied(exit Exit) string {
	if exit.Signal == syscall.SIGSEGV || exit.Signal == syscall.SIGBUS {
		return ": was the program copied completely?"
	}
	return ""
}

// colon appends a headline to an error text.
func colon(_, headline string) string {
	if headline == "" {
		return ""
	}
	return ": " + headline
}

// rollEnded tells those who wait for a roll.
func (s *Supervisor) rollEnded(err error) {
	step, detail := "done", ""
	if err != nil {
		step, detail = "failed", err.Error()
	}
	s.watchers.tell(Progress{At: time.Now(), Step: step, Detail: detail})
	s.sweep = true
	waiting := s.rolling
	s.rolling = nil
	for _, done := range waiting {
		done(err)
	}
}
