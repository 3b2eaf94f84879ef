// Package daemon runs racecar in the background.
// It is not covered by the compatibility promise.
//
// The program starts itself again, in a session of its own, with stdin empty and
// stdout and stderr in the log file. The launching process waits until the daemon
// reports that it runs, or why it does not, and only then exits: `racecar --daemonize`
// succeeds exactly when there is a daemon.
//
// The daemon itself creates the pidfile (package pidfile): it has to hold the lock.
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

// envReadyFD carries the number of the ready pipe's descriptor to the daemon.
const envReadyFD = "RACECAR_INTERNAL_READY_FD"

// minReadyFD is the least number of that descriptor: far above those that are placed when a
// process is started.
const minReadyFD = 64

// readyMessage is what the daemon writes to the ready pipe when it runs.
const readyMessage = "ok\n"

// Daemon is this process, in the background.
type Daemon struct {
	once  sync.Once
	ready *os.File
}

// Start starts the program in the background. It is called early, before anything that
// must not happen twice, and while only the main goroutine runs.
//
// In the launching process it returns nil and whether the start succeeded, once the daemon
// has called Ready or Fail or has exited. In the daemon, which runs the same program with
// the same arguments, environment, umask and directory, it returns a Daemon.
//
// The daemon's stdout and stderr go to logfile; empty: nowhere.
func Start(logfile string) (*Daemon, error) {
	if d := fromEnvironment(); d != nil {
		return d, d.closeHandover()
	}
	// A daemon may have started us: its mark is not ours.
	if err := os.Unsetenv(godaemon.MARK_NAME); err != nil {
		return nil, err
	}
	return nil, launch(logfile)
}

// IsDaemon reports whether this process is (or becomes) the daemon that another process
// started with Start.
func IsDaemon() bool { return os.Getenv(envReadyFD) != "" && godaemon.WasReborn() }

// launch starts the daemon and waits for its report.
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
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD, minReadyFD) // is inherited, unlike w
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("ready pipe: %w", err)
	}
	ctx := &godaemon.Context{
		LogFileName: logfile,
		LogFilePerm: 0o640,
		Env:         append(os.Environ(), envReadyFD+"="+strconv.Itoa(fd)),
		Args:        slices.Clone(os.Args),
	}
	child, err := ctx.Reborn()
	_ = unix.Close(fd)
	// A daemon that has exited before go-daemon had sent everything may still have
	// reported why, which explains more than a broken pipe.
	if err != nil && (child == nil || !errors.Is(err, unix.EPIPE)) {
		return fmt.Errorf("start background process: %w", err)
	}
	report, err := io.ReadAll(r)
	switch {
	case err != nil:
		return fmt.Errorf("ready pipe: %w", err)
	case string(report) == readyMessage:
		return nil
	case len(report) > 0:
		return startError(string(report))
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

// startError makes errors of what Fail wrote, a line each.
func startError(report string) error {
	var all []error
	for line := range strings.Lines(report) {
		all = append(all, errors.New(strings.TrimSpace(line)))
	}
	return errors.Join(all...)
}

// fromEnvironment recognizes the daemon by its ready pipe; nil: this is not one.
func fromEnvironment() *Daemon {
	value, ok := os.LookupEnv(envReadyFD)
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

// closeHandover opens stdin and removes the marks, so that workers and their children do
// not take themselves for daemons.
func (d *Daemon) closeHandover() error {
	if _, err := new(godaemon.Context).Reborn(); err != nil {
		return fmt.Errorf("become a daemon: %w", err)
	}
	_ = unix.Close(3) // stdin was read from it
	return errors.Join(os.Unsetenv(godaemon.MARK_NAME), os.Unsetenv(envReadyFD))
}

// ChdirRoot changes the working directory to /: this process needs no other. All relative
// paths must have been resolved before. Workers run in the directory of the start.
func (d *Daemon) ChdirRoot() error {
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leave the working directory: %w", err)
	}
	return nil
}

// Ready makes the launching process succeed. Only the first call of Ready or Fail counts.
func (d *Daemon) Ready() { d.report(readyMessage) }

// Fail makes the launching process fail with this error.
func (d *Daemon) Fail(err error) { d.report(strings.Join(printable.Lines(err), "\n") + "\n") }

func (d *Daemon) report(text string) {
	d.once.Do(func() {
		_, _ = d.ready.WriteString(text) // nobody reads it: the launching process was interrupted
		_ = d.ready.Close()
	})
}

// ReopenOutput points these descriptors of this process (a daemon's stdout and stderr,
// the stdout of its workers) to the log file's path again, after it was renamed.
// Concurrent writes go to the old file or the new one.
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
