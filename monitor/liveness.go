package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/sirupsen/logrus"
)

// Liveness keeps the liveness file of upstream: touched while every worker is
// live, removed at the end. `racecarctl liveness_probe` looks at its age.
type Liveness struct {
	path  string
	every time.Duration
	ask   Source
	log   logrus.FieldLogger
	now   func() time.Time
}

// NewLiveness makes sure that the file can be written. ask need not ask workers.
func NewLiveness(c *config.Config, ask Source, log logrus.FieldLogger) (*Liveness, error) {
	l := &Liveness{path: c.LivenessProbeFilePath, ask: ask, log: log, now: time.Now}
	// Three looks within an interval, so that one may be late.
	l.every = max(10*time.Millisecond, min(time.Second, c.LivenessProbeMaxInterval/3))
	if err := writable(l.path); err != nil {
		return nil, fmt.Errorf("liveness_probe_file_path must be set to a writable file path: %w", err)
	}
	return l, nil
}

// writable tries, and leaves nothing behind.
func writable(path string) error {
	if path == "" {
		return errors.New("it is empty")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(path))
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
	said := "" // why it is not touched, told once
	for {
		why := l.look(ctx)
		if why != said && ctx.Err() == nil {
			said = why
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

// look touches the file, or says why not.
func (l *Liveness) look(ctx context.Context) string {
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
	now := l.now()
	err := os.Chtimes(l.path, now, now)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
