package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/racecar-go/racecar/pidfile"
	"golang.org/x/sys/unix"
)

type stopCmd struct {
	consumerFlags
	Timeout span `placeholder:"SECONDS" help:"How long the workers have to finish (default: shutdown_timeout)"`
	Force   bool `help:"Kill the supervisor and its workers at once"`
	Leave   bool `help:"Remove the members from their groups although membership is host"`
}

const (
	// stopReminder is how often a stop says that it still waits, as upstream.
	stopReminder = 5 * time.Second
	// stopMargin is what a supervisor has beyond --timeout to kill, reap and go.
	stopMargin = 10 * time.Second
	// forceTimeout is what it has for that with --force, before it is killed itself.
	forceTimeout = 5 * time.Second
)

// Run stops the supervisor through its socket or, where it cannot be asked, by
// a signal, and waits until the process is gone.
func (c *stopCmd) Run(ctx context.Context, a *app) error {
	f, err := a.find(ctx, c.supervisorFlags, c.Consumer)
	if err != nil {
		return err
	}
	if err := alone(ctx, f, c.Consumer); err != nil {
		f.client.Close()
		return err
	}
	if f.state == pidfile.NotOwned {
		return fmt.Errorf("process %d belongs to another user", f.pid)
	}
	if f.state != pidfile.Running {
		a.printf("Racecar is not currently running\n")
		return nil
	}
	if f.client != nil {
		defer f.client.Close()
		if f.search {
			if err := a.startedHere(ctx, f); err != nil {
				return err
			}
		}
	} else if c.Leave {
		return fmt.Errorf("--leave needs the control socket: %w", f.silent)
	}
	held, err := a.hold(ctx, f)
	if err != nil {
		return err
	}
	if held == nil && f.client == nil {
		a.printf("Racecar is not currently running\n") // it went meanwhile
		return nil
	}
	return c.stop(ctx, a, f, held)
}

// startedHere says what is going to be stopped when nobody has said which, and refuses
// what was started in another directory.
func (a *app) startedHere(ctx context.Context, f found) error {
	st, err := f.client.Status(ctx)
	if err != nil {
		return fmt.Errorf("nothing was stopped: the directory it was started in is not known (%w); stop it with racecarctl stop --socket %s", err, f.client.Socket())
	}
	var names []string
	for _, c := range st.Consumers {
		names = append(names, c.Name)
	}
	what := fmt.Sprintf("%s (PID = %d)", strings.Join(names, ", "), f.pid)
	here, err := os.Stat(".")
	if err != nil {
		return err
	}
	if there, err := os.Stat(st.Dir); err == nil && os.SameFile(here, there) {
		a.note("Stopping %s, started in %s\n", what, st.Dir)
		return nil
	}
	which := "--socket " + f.client.Socket()
	switch {
	case len(names) == 1:
		which = names[0]
	case st.Pidfile != "":
		which = "--pidfile " + st.Pidfile
	}
	return fmt.Errorf("nothing was stopped: %s was started in another directory, %s; stop it with racecarctl stop %s", what, st.Dir, which)
}

// alone refuses to stop more than the consumer that was named.
func alone(ctx context.Context, f found, consumer string) error {
	if consumer == "" || f.client == nil {
		return nil
	}
	st, err := f.client.Status(ctx)
	if err != nil {
		return err
	}
	others := make([]string, 0, len(st.Consumers))
	for _, c := range st.Consumers {
		if c.Name != consumer {
			others = append(others, c.Name)
		}
	}
	switch {
	case len(others) == len(st.Consumers):
		return fmt.Errorf("no consumer is called %q there", consumer)
	case len(others) > 0:
		return fmt.Errorf("%s runs together with %s, and stop stops all of them: name none, or use racecarctl quiet %s",
			consumer, strings.Join(others, ", "), consumer)
	}
	return nil
}

// hold takes hold of the process found. Nil without an error: it is gone, or not
// to be seen from here.
func (a *app) hold(ctx context.Context, f found) (h *pidfile.Holder, err error) {
	switch {
	case f.pidfile != "":
		h, err = pidfile.Find(f.pidfile)
	case f.pid == 0:
		return nil, nil
	default:
		h, err = pidfile.Hold(f.pid, func() bool {
			pid, err := f.client.PID(ctx)
			return err == nil && pid == f.pid
		})
	}
	if errors.Is(err, pidfile.ErrNotRunning) {
		return nil, nil
	}
	return h, err
}

func (c *stopCmd) stop(ctx context.Context, a *app, f found, held *pidfile.Holder) error {
	var kill error // why what it was told did not reach it, or what it says of the stop
	told := make(chan error, 1)
	switch {
	case f.client != nil:
		o := StopOptions{Timeout: time.Duration(c.Timeout), Force: c.Force, Leave: c.Leave}
		go func() { told <- f.client.Stop(ctx, o, a.progress()) }()
	case c.Force:
		told <- held.Signal(unix.SIGKILL)
	default:
		told <- held.Signal(unix.SIGTERM)
	}
	gone := make(chan error, 1)
	go func() { gone <- waitGone(ctx, f, held) }()

	limit := time.Duration(0)
	switch {
	case c.Force:
		limit = forceTimeout
	case c.Timeout > 0:
		limit = time.Duration(c.Timeout) + stopMargin
	}
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	remind := time.NewTicker(stopReminder)
	defer remind.Stop()
	a.printf("Waiting for Racecar process to stop...\n")
	for {
		select {
		case kill = <-told:
			told = nil
			if kill != nil && held != nil && (errors.Is(kill, errHungUp) || errors.Is(kill, ErrNotRunning)) {
				kill = held.Signal(unix.SIGTERM) // the socket is of no use any more
			}
		case err := <-gone:
			if err != nil {
				return err
			}
			if told != nil { // what it said last may be on its way
				select {
				case kill = <-told:
				case <-time.After(time.Second):
				}
			}
			a.printf("Racecar stopped\n")
			if errors.Is(kill, errHungUp) || errors.Is(kill, ErrNotRunning) {
				kill = nil // that is what stopping looks like
			}
			return kill
		case <-late:
			if !c.Force || held == nil {
				return fmt.Errorf("it still runs after %s; stop --force kills it", limit)
			}
			if err := held.Signal(unix.SIGKILL); err != nil {
				return err
			}
			late = nil
		case <-remind.C:
			a.printf("Waiting for Racecar process to stop...\n")
		}
	}
}

// waitGone returns nil when the process is gone; where it cannot be seen, when
// nobody answers at its socket any more.
func waitGone(ctx context.Context, f found, held *pidfile.Holder) error {
	if held != nil {
		defer held.Close()
		return held.Wait(ctx)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := f.client.PID(ctx); errors.Is(err, ErrNotRunning) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
