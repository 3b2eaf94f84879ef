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

// planWithin bounds the check of a new program; a launcher may have to build it.
const planWithin = 10 * time.Minute

// restartRequest is a rolling restart that was asked for. Its rollout lacks plan and
// image.
type restartRequest struct {
	rollout fleet.Rollout
	done    func(error) // called once, by the loop
}

// check is a check of the program as it is found now, under way.
type check struct {
	commands []restartRequest // the first is served by what it finds, the others afterwards
	helper   *helper          // nil: it could not be started
	began    time.Time
	reported time.Time // when progress was
}

const (
	// checkProgress is how often a check that goes on is reported.
	checkProgress = 5 * time.Second
	// checkSlow is when a HUP does not wait for an earlier check any longer.
	checkSlow = 10 * time.Second
)

// restart checks the program again and rolls out what it finds. A check that is under way
// is replaced: it may hang, or have read what is changed by now.
func (s *Supervisor) restart(c restartRequest) {
	commands := []restartRequest{c}
	switch st := s.fleet.LoopState(); {
	case st.Stopping:
		c.done(fleet.ErrStopping)
		return
	case st.Rolling:
		s.queued = append(s.queued, c)
		return
	case s.check != nil:
		old := s.check
		commands = append(old.commands, c)
		if old.helper != nil {
			s.logf(logrus.WarnLevel, "the check of the new program is replaced by a newer one", logrus.Fields{
				"pid": old.helper.child.process.PID(), "after": time.Since(old.began).Round(time.Second).String(),
			})
			s.signalChild(old.helper.child, syscall.SIGKILL)
		}
	}
	now := time.Now()
	p := &check{commands: commands, began: now, reported: now}
	s.check = p
	s.watchers.report(fleet.Progress{Time: now, Step: "checking", Detail: "the program and its configuration"})
	p.helper = s.startCheck(func(now time.Time, plan wire.Plan, image process.Image, err error) {
		switch {
		case s.check == p:
			s.checkDone(now, plan, image, err)
		case image != nil: // replaced
			_ = image.Close()
		}
	})
}

// restartQueued serves the restarts that waited for the end of the rollout.
func (s *Supervisor) restartQueued() {
	queued := s.queued
	s.queued = nil
	for _, c := range queued {
		s.restart(c)
	}
}

// checkDone serves the commands that asked for a check.
func (s *Supervisor) checkDone(now time.Time, plan wire.Plan, image process.Image, err error) {
	commands := s.check.commands
	s.check = nil
	if err != nil {
		for _, c := range commands {
			c.done(err)
		}
		return
	}
	for _, w := range plan.Warnings {
		s.logf(logrus.WarnLevel, "configuration", logrus.Fields{"warning": w})
	}
	rollout := commands[0].rollout
	rollout.Plan, rollout.Image = plan, s.holdImage(image)
	s.request(now, func(ref uint64) fleet.Event {
		rollout.Ref = ref
		return rollout
	}, func(r *replies) { commands[0].done(errors.Join(r.errs...)) })
	for _, c := range commands[1:] {
		s.restart(c)
	}
}

// reportCheck reports a check that goes on.
func (s *Supervisor) reportCheck(now time.Time) {
	p := s.check
	if p == nil || p.helper == nil || now.Sub(p.reported) < checkProgress {
		return
	}
	p.reported = now
	s.watchers.report(fleet.Progress{Time: now, Step: "checking", Detail: fmt.Sprintf(
		"pid %d has been loading the program and its configuration for %v", p.helper.child.process.PID(), now.Sub(p.began).Round(time.Second))})
}

// startCheck runs the program as it is found now, with the command line of the start,
// to load and validate everything. On success the image is the caller's. It returns the
// process that does it; nil when there is none and done was called.
func (s *Supervisor) startCheck(done func(time.Time, wire.Plan, process.Image, error)) *helper {
	now := time.Now()
	image, err := s.opts.Spawner.Find()
	if err != nil {
		done(now, wire.Plan{}, nil, err)
		return nil
	}
	h, err := s.startHelper(process.Spec{Role: wire.RolePlan, Argv: s.opts.PlanArgv, Image: image}, "loading the new configuration", planWithin)
	if err != nil {
		_ = image.Close()
		done(now, wire.Plan{}, nil, notStarted(image, err))
		return nil
	}
	h.dropped = func() { _ = image.Close() }
	var got *wire.Plan
	h.answer = wire.KindPlan
	h.message = func(_ time.Time, env wire.Envelope) error {
		var plan wire.Plan
		if err := env.Decode(&plan); err != nil {
			return err
		}
		got = &plan
		// The program may be a launcher that built another one and executed it: workers
		// are started from that.
		if real, err := h.child.process.Image(); err == nil {
			_ = image.Close()
			image = real
		}
		h.finish()
		return nil
	}
	h.exited = func(now time.Time, exit fleet.Exit) {
		switch {
		case s.fleet.LoopState().Stopping:
			err = fleet.ErrStopping
		case got == nil:
			err = fmt.Errorf("%s could not load the configuration: %s%s%s", image, exit, colon(h.child.process.Stderr()), halfCopied(exit))
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
	return h
}

// notStarted says why a program was not started. The path in the error is a descriptor of
// ours, which explains nothing.
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
