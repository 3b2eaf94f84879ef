package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/supervisor"
	"github.com/racecar-go/racecar/supervisor/daemon"
)

// daemonize puts the program into the background and returns once it runs there,
// or why it does not.
func daemonize(r *run, banner supervisor.Banner) error {
	c := r.process()
	// Only for upstream's error text: the daemon's own lock decides.
	if state, pid, err := pidfile.Query(c.Pidfile); err != nil {
		return located(err, "pidfile", r.sources())
	} else if state == pidfile.Running {
		return refused(&pidfile.RunningError{Path: c.Pidfile, PID: pid}, banner, nil)
	}
	if c.Logfile == "" {
		warn(banner.W, []string{"a daemon without a logfile logs to nowhere: set logfile (--logfile)"})
	}
	banner.Background()
	banner.Pidfile(c.Pidfile)
	_, err := daemon.Start(c.Logfile)
	if err != nil && strings.HasPrefix(err.Error(), "logfile: ") { // ours, not the daemon's
		err = located(err, "logfile", r.sources())
	}
	return err
}

// runDaemon supervises in the background process.
func runDaemon(in *parsed, r *run) error {
	d, err := daemon.Start(r.process().Logfile)
	if err != nil {
		return err
	}
	err = supervise(in, r, supervisor.Banner{W: os.Stderr}, d) // the log file, or nothing
	if err != nil {
		d.Fail(err)
	}
	return err
}

// refused reports that another supervisor is running, in upstream's words in the
// foreground.
func refused(err error, banner supervisor.Banner, d *daemon.Daemon) error {
	var running *pidfile.RunningError
	if d != nil || !errors.As(err, &running) {
		return err
	}
	banner.AlreadyRunning(running.Path)
	return exitCode(exitFailed)
}

// onReady lets the launching process end once all workers are up.
func onReady(d *daemon.Daemon) func() {
	if d == nil {
		return nil
	}
	return d.Ready
}

// reopen reopens the log after a rename. A daemon's stdout and stderr are the same file.
// It does not wait for a log that hangs.
func reopen(log *logs.Log, c *config.Config, d *daemon.Daemon) {
	log.After(func() {
		err := log.Reopen()
		if d != nil && c.Logfile != "" {
			err = errors.Join(err, daemon.ReopenOutput(c.Logfile, 1, 2))
		}
		if err != nil {
			log.WithError(err).Error("log file was not reopened")
		}
	})
}
