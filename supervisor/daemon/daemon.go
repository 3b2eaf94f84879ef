// Package daemon puts a racecar into the background.
// It is not covered by the compatibility promise.
//
// The program starts itself again, in a session of its own, with stdin empty and
// stdout and stderr in the log file. The launching process waits until the daemon
// says that it runs, or why it does not, and only then ends: `racecar --daemonize`
// succeeds exactly when there is a daemon.
//
// It takes no pidfile: that is done in the daemon itself (package pidfile), where
// the lock has to be.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	godaemon "github.com/sevlyar/go-daemon"
	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/owner"
	"github.com/racecar-go/racecar/internal/printable"
)

// envReady carries the number of the ready pipe's descriptor to the daemon.
const envReady = "RACECAR_INTERNAL_READY_FD"

// readyFD is the least number of that descriptor: far from those that are put
// in place when a process is started.
const readyFD = 64

// okay is what the daemon writes to the ready pipe when it runs.
const okay = "ok\n"

// Daemon is this process, in the background.
type Daemon struct {
	once  sync.Once
	ready *os.File
}

// Start puts the program into the background. It is called early, before
// anything that a second process should not do again, and with nothing but the
// main goroutine running.
//
// In the launching process it returns nil and whether that worked, once the
// daemon has called Ready or Fail or has ended. In the daemon, which runs the
// same program with the same arguments, environment, umask and directory, it
// returns a Daemon.
//
// logfile takes what the daemon writes to stdout and stderr; empty: nothing does.
func Start(logfile string) (*Daemon, error) {
	if d := reborn(); d != nil {
		return d, d.finishBirth()
	}
	// The mark of a daemon that we were started by is not ours.
	if err := os.Unsetenv(godaemon.MARK_NAME); err != nil {
		return nil, err
	}
	return nil, launch(logfile)
}

// Reborn says whether this process is (to become) the daemon that another one
// has started with Start.
func Reborn() bool { return os.Getenv(envReady) != "" && godaemon.WasReborn() }

// launch starts the daemon and waits for what it says.
func launch(logfile string) error {
	if logfile != "" { // go-daemon would follow any link
		f, err := owner.OpenAppend(logfile)
		if err != nil {
			return fmt.Errorf("logfile: %w", err)
		}
		_ = f.Close() // nothing was written
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("ready pipe: %w", err)
	}
	defer r.Close()
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD, readyFD) // is inherited, unlike w
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("ready pipe: %w", err)
	}
	ctx := &godaemon.Context{
		LogFileName: logfile,
		LogFilePerm: 0o640,
		Env:         append(os.Environ(), envReady+"="+strconv.Itoa(fd)),
		Args:        slices.Clone(os.Args),
	}
	child, err := ctx.Reborn()
	_ = unix.Close(fd)
	// One that has ended before go-daemon had written the last of what it is sent is
	// asked like any other: its own words say more than a broken pipe.
	if err != nil && (child == nil || !errors.Is(err, unix.EPIPE)) {
		return fmt.Errorf("start background process: %w", err)
	}
	said, err := io.ReadAll(r)
	switch {
	case err != nil:
		return fmt.Errorf("ready pipe: %w", err)
	case string(said) == okay:
		return nil
	case len(said) > 0:
		return problems(string(said))
	}
	err = errors.New("the background process ended before it was ready")
	if state, waitErr := child.Wait(); waitErr == nil {
		err = fmt.Errorf("%w: %v", err, state)
	}
	if logfile != "" {
		err = fmt.Errorf("%w; see %s", err, logfile)
	}
	return err
}

// problems are what Fail wrote, a line each.
func problems(said string) error {
	var all []error
	for line := range strings.Lines(said) {
		all = append(all, errors.New(strings.TrimSpace(line)))
	}
	return errors.Join(all...)
}

// reborn recognizes the daemon by its ready pipe; nil: this is not one.
func reborn() *Daemon {
	value, ok := os.LookupEnv(envReady)
	if !ok || !godaemon.WasReborn() {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	unix.CloseOnExec(fd)
	return &Daemon{ready: os.NewFile(uintptr(fd), "ready pipe")}
}

// finishBirth puts stdin in place and removes the traces, so that workers and
// their children do not take themselves for daemons.
func (d *Daemon) finishBirth() error {
	if _, err := new(godaemon.Context).Reborn(); err != nil {
		return fmt.Errorf("become a daemon: %w", err)
	}
	_ = unix.Close(3) // what stdin was made from
	return errors.Join(os.Unsetenv(godaemon.MARK_NAME), os.Unsetenv(envReady))
}

// Detach leaves the directory of the start: this process needs nothing there. All
// relative paths must have been resolved before. Workers run where the start was.
func (d *Daemon) Detach() error {
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leave the working directory: %w", err)
	}
	return nil
}

// Ready lets the launching process end well. Only the first call of Ready or
// Fail counts.
func (d *Daemon) Ready() { d.say(okay) }

// Fail lets the launching process end with this error.
func (d *Daemon) Fail(err error) { d.say(strings.Join(printable.Lines(err), "\n") + "\n") }

func (d *Daemon) say(text string) {
	d.once.Do(func() {
		_, _ = d.ready.WriteString(text) // nobody there: it was interrupted
		_ = d.ready.Close()
	})
}

// ReopenOutput points these descriptors of this process (a daemon's stdout and stderr,
// the stdout of its workers) to the log file's path again, after it was renamed. What
// is being written meanwhile goes to the one or the other, never nowhere.
func ReopenOutput(logfile string, fds ...int) error {
	f, err := owner.OpenAppend(logfile)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	defer f.Close()
	for _, fd := range fds {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return fmt.Errorf("log file %q: %w", logfile, err)
		}
	}
	return nil
}
