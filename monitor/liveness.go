package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/owner"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Liveness maintains upstream's liveness file: it touches the file while every worker is
// live and removes it at the end. `racecarctl liveness_probe` checks the file's age.
type Liveness struct {
	path  string
	every time.Duration
	ask   Source
	log   logrus.FieldLogger
	now   func() time.Time
}

// NewLiveness returns an error if the file cannot be written. ask need not ask the workers.
func NewLiveness(c *config.Config, ask Source, log logrus.FieldLogger) (*Liveness, error) {
	l := &Liveness{path: c.LivenessProbeFilePath, ask: ask, log: log, now: time.Now}
	// Three checks within an interval, so that one may be late.
	l.every = max(10*time.Millisecond, min(time.Second, c.LivenessProbeMaxInterval/3))
	if err := writable(l.path); err != nil {
		return nil, fmt.Errorf("liveness_probe_file_path must be set to a writable file path: %w", err)
	}
	return l, nil
}

// writable creates the file's folder if that is the user's own, tries to create the file, and
// removes it again.
func writable(path string) error {
	if path == "" {
		return errors.New("it is empty")
	}
	if dir := filepath.Dir(path); dir == config.LivenessDir(os.Environ()) {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := owner.Private(dir); err != nil {
			return err
		}
	}
	f, err := openLiveness(path, os.O_CREATE)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(path))
}

// openLiveness opens the file, which must belong to this user: in a folder that others can
// write to, a file of that name may be a link, or theirs.
func openLiveness(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|flags, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a link: remove it", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !info.Mode().IsRegular() || ok && int(st.Uid) != os.Geteuid() {
			err = fmt.Errorf("%s is not a file of this user: remove it, or set another path", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Run touches the file until ctx ends, and then removes it.
func (l *Liveness) Run(ctx context.Context) {
	defer func() {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.log.WithError(err).Warn("Liveness file not removed")
		}
	}()
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	logged := "" // why the file is not touched
	for {
		why := l.check(ctx)
		if why != logged && ctx.Err() == nil {
			logged = why
			if why != "" {
				l.log.WithField("reason", why).Warn("Not live: the liveness file is not touched")
			} else {
				l.log.Info("Live again: the liveness file is touched")
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// check touches the file, or returns why it does not.
func (l *Liveness) check(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, l.every)
	defer cancel()
	st, err := l.ask(ctx)
	if err != nil {
		return "the supervisor does not answer"
	}
	if why := notLive(st); len(why) > 0 {
		return why[0]
	}
	if err := l.touch(); err != nil {
		return err.Error()
	}
	return ""
}

func (l *Liveness) touch() error {
	f, err := openLiveness(l.path, os.O_CREATE)
	if err != nil {
		return err
	}
	now := unix.NsecToTimeval(l.now().UnixNano())
	return errors.Join(unix.Futimes(int(f.Fd()), []unix.Timeval{now, now}), f.Close())
}
