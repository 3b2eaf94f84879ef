package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/wire"
)

// errInterrupted ends a build that somebody stopped.
var errInterrupted = errors.New("interrupted while building")

// run builds the program if need be and becomes it. It returns only when that
// does not come about.
func run(a arguments, role wire.Role) error {
	name, err := upToDate(a)
	switch {
	case errors.Is(err, errInterrupted) && role == "":
		return exitCode(0) // before anything ran: a graceful stop
	case err != nil && role == wire.RolePlan:
		answerSupervisor(err)
		return err
	case err != nil:
		return err
	}
	environ := os.Environ()
	if a.dev && role == "" {
		if environ, err = startDev(a, environ); err != nil {
			return err
		}
	}
	argv := append([]string{os.Args[0]}, a.program...)
	// Descriptors that a supervisor passed down stay open: they were inherited,
	// and what this process opened itself closes on exec.
	return fmt.Errorf("start %s: %w", name, syscall.Exec(name, argv, environ))
}

// upToDate returns the path of the program for the arguments, and rebuilds it if
// anything has changed.
func upToDate(a arguments) (string, error) {
	cwd, err := workingDir()
	if err != nil {
		return "", err
	}
	m, err := findModule(cwd)
	if err != nil {
		return "", err
	}
	all, err := requiredDirs(m, a, cwd)
	if err != nil {
		return "", err
	}
	c, err := openCache(m, all)
	if err != nil {
		return "", err
	}
	environment := buildEnvironment(os.Environ())
	if name := c.current(environment); name != "" {
		return name, nil
	}
	unlock, err := c.lock() // while another launcher builds, a signal ends us as it would anybody
	if err != nil {
		return "", err
	}
	defer unlock()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if name := c.current(environment); name != "" {
		return name, nil // another launcher was faster
	}
	g, err := findGo(cwd)
	if err != nil {
		return "", err
	}
	done := showProgress(os.Stderr, "=> Building "+what(all))
	name, err := c.build(ctx, g, m, all, environment)
	done()
	return name, building(ctx, m, all, err)
}

// building puts one line above the go command's words: what was being built.
func building(ctx context.Context, m *module, all []required, err error) error {
	switch {
	case ctx.Err() != nil: // also when it was built all the same
		return errInterrupted
	case err == nil:
		return nil
	}
	if g, ok := errors.AsType[*goError](err); ok {
		what := what(all)
		if what == "" {
			what = "a program without consumers"
		}
		return &buildError{fmt.Sprintf("building %s of module %s", what, m.path), g}
	}
	return err
}

// buildError is a failure of the go command with what was being built.
type buildError struct {
	what string
	err  *goError
}

func (e *buildError) Error() string { return e.what + ":\n" + e.err.Error() }

func (e *buildError) Unwrap() error { return e.err }

// answerSupervisor answers a supervisor's request for a plan with an error. It ignores
// that the supervisor may no longer listen.
func answerSupervisor(err error) {
	f := os.NewFile(wire.SocketFD, "supervisor")
	_ = wire.NewConn(f).Write(wire.KindPlan, wire.Plan{Error: err.Error()})
	_ = f.Close()
}

// progressEvery is how often a long build prints a line where there is no terminal.
const progressEvery = 10 * time.Second

// showProgress shows a line with the elapsed time: on a terminal in place, removed by
// the returned function; elsewhere a new line every ten seconds.
func showProgress(w *os.File, line string) (done func()) {
	before, after, end, every := "\r\x1b[K", "", "\r\x1b[K", 200*time.Millisecond
	terminal := view.CanRedraw(w)
	if !terminal {
		before, after, end, every = "", "\n", "", progressEvery
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		began := time.Now()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for first := terminal; ; first = true {
			if first {
				fmt.Fprintf(w, "%s%s … %.0f s%s", before, line, time.Since(began).Seconds(), after)
			}
			select {
			case <-stop:
				fmt.Fprint(w, end)
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
