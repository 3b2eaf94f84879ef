package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// planWithin bounds the look at a new program; a launcher may have to build it.
const planWithin = 10 * time.Minute

// restartOrder is a roll that was asked for.
type restartOrder struct {
	rollOrder
	done func(error) // called once, by the loop
}

// planning is a check of the program as it is found now, under way.
type planning struct {
	orders []restartOrder // the first is served by what it finds, the others afterwards
	shot   *oneShot       // nil: it could not be started
	began  time.Time
	told   time.Time // when progress was last reported
}

const (
	// checkProgress is how often a check that goes on is reported.
	checkProgress = 5 * time.Second
	// checkSlow is when a HUP does not wait for an earlier check any longer.
	checkSlow = 10 * time.Second
)

// restart checks the program anew and rolls to what it says. A check that is under way
// is replaced: it may hang, or have read what is changed by now.
func (s *Supervisor) restart(o restartOrder) {
	orders := []restartOrder{o}
	switch {
	case s.reg.ending != nil:
		o.done(errStopping)
		return
	case s.reg.roll != nil:
		s.rolling = append(s.rolling, func(error) { s.restart(o) })
		return
	case s.planning != nil:
		old := s.planning
		orders = append(old.orders, o)
		if old.shot != nil {
			s.logf(logrus.WarnLevel, "the check of the new program is replaced by a newer one", logrus.Fields{
				"pid": old.shot.child.process.PID(), "after": time.Since(old.began).Round(time.Second).String(),
			})
			s.signalChild(old.shot.child, syscall.SIGKILL)
		}
	}
	now := time.Now()
	p := &planning{orders: orders, began: now, told: now}
	s.planning = p
	s.watchers.tell(Progress{At: now, Step: "checking", Detail: "the program and its configuration"})
	p.shot = s.plan(func(now time.Time, plan wire.Plan, image process.Image, err error) {
		switch {
		case s.planning == p:
			s.checked(now, plan, image, err)
		case image != nil: // replaced
			_ = image.Close()
		}
	})
}

// checked serves those who asked for a check.
func (s *Supervisor) checked(now time.Time, plan wire.Plan, image process.Image, err error) {
	orders := s.planning.orders
	s.planning = nil
	if err != nil {
		for _, o := range orders {
			o.done(err)
		}
		return
	}
	for _, w := range plan.Warnings {
		s.logf(logrus.WarnLevel, "configuration", logrus.Fields{"warning": w})
	}
	if err := s.reg.rollTo(now, plan, image, orders[0].rollOrder); err != nil {
		_ = image.Close()
		orders[0].done(err)
	} else {
		s.images = append(s.images, image)
		s.rolling = append(s.rolling, orders[0].done)
	}
	for _, o := range orders[1:] {
		s.restart(o)
	}
}

// tellCheck reports a check that goes on.
func (s *Supervisor) tellCheck(now time.Time) {
	p := s.planning
	if p == nil || p.shot == nil || now.Sub(p.told) < checkProgress {
		return
	}
	p.told = now
	s.watchers.tell(Progress{At: now, Step: "checking", Detail: fmt.Sprintf(
		"pid %d has been loading the program and its configuration for %v", p.shot.child.process.PID(), now.Sub(p.began).Round(time.Second))})
}

// plan runs the program as it is found now, with the command line of the start,
// to load and validate everything. On success the image is the caller's. It returns the
// process that does it; nil when there is none and done was called.
func (s *Supervisor) plan(done func(time.Time, wire.Plan, process.Image, error)) *oneShot {
	now := time.Now()
	image, err := s.opts.Spawner.Find()
	if err != nil {
		done(now, wire.Plan{}, nil, err)
		return nil
	}
	shot, err := s.shoot(process.Spec{Role: wire.RolePlan, Argv: s.opts.PlanArgv, Image: image}, "loading the new configuration", planWithin)
	if err != nil {
		_ = image.Close()
		done(now, wire.Plan{}, nil, notStarted(image, err))
		return nil
	}
	shot.drop = func() { _ = image.Close() }
	var got *wire.Plan
	shot.answer = wire.KindPlan
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
	shot.gone = func(now time.Time, exit fleet.Exit) {
		switch {
		case s.reg.ending != nil:
			err = errStopping
		case got == nil:
			err = fmt.Errorf("%s could not load the configuration: %s%s%s", image, exit, colon(shot.child.process.Stderr()), halfCopied(exit))
		case got.Error != "":
			err = errors.New(got.Error)
		default:
			_, err = wire.Agree(wire.Supported(), got.Versions)
		}
		if err != nil {
			_ = image.Close()
			done(now, wire.Plan{}, nil, err)
			return
		}
		done(now, *got, image, nil)
	}
	return shot
}

// notStarted says why a program was not started. What the system was asked to
// execute is a descriptor of ours, which tells nobody anything.
func notStarted(image process.Image, err error) error {
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
func halfCopied(exit fleet.Exit) string {
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
