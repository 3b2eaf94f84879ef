package cli

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
)

// restoreEvery is how often a removed control socket is recreated: cleaners of temporary
// folders remove old files even if they are in use.
const restoreEvery = time.Minute

// notFound is logged if the socket cannot be announced.
const notFound = "racecarctl does not find this supervisor by itself: give it --socket or --pidfile"

// controlSocket is the supervisor's socket and the link by which racecarctl finds
// it.
type controlSocket struct {
	*ctl.Listener
	link *ctl.Announcement // nil: it lies where racecarctl looks
	log  logrus.FieldLogger
	hup  chan struct{} // a HUP came
	last string        // the last error logged, not to repeat it each minute
}

// listen opens the control socket where configuration says: beside the pidfile,
// else in the user's runtime folder.
func listen(c *config.Config, runtime ctl.Runtime, log logrus.FieldLogger) (*controlSocket, error) {
	s := &controlSocket{log: log, hup: make(chan struct{}, 1)}
	path := c.ControlSocket
	if path == "" && c.Pidfile != "" {
		path = ctl.SocketBeside(c.Pidfile)
	}
	var err error
	if path == "" {
		if s.Listener, err = runtime.Listen(); err != nil {
			return nil, err
		}
		return s, nil
	}
	if s.Listener, err = ctl.Listen(path); err != nil {
		return nil, err
	}
	if s.link, err = runtime.Announce(s.Path()); err != nil {
		s.complain(err, notFound)
	}
	return s, nil
}

func (s *controlSocket) complain(err error, msg string) {
	if err.Error() != s.last {
		s.last = err.Error()
		s.log.WithField("error", s.last).Warn(msg)
	}
}

// reload recreates a removed socket now. It does not block.
func (s *controlSocket) reload() {
	select {
	case s.hup <- struct{}{}:
	default: // it is going to happen anyway
	}
}

// keep recreates socket and link, if they are removed, until ctx ends.
func (s *controlSocket) keep(ctx context.Context) {
	t := time.NewTicker(restoreEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.hup:
		case <-ctx.Done():
			return
		}
		s.restore()
	}
}

func (s *controlSocket) restore() {
	fresh, err := s.Restore()
	if fresh {
		s.last = ""
		s.log.WithField("socket", s.Path()).Warn("the control socket had been removed and was recreated")
	}
	if err != nil {
		s.complain(err, "the control socket was removed and cannot be recreated: racecarctl does not reach this supervisor")
		return
	}
	if s.link == nil {
		return
	}
	if err := s.link.Restore(); err != nil {
		s.complain(err, notFound)
	}
}

// close removes socket and link.
func (s *controlSocket) close() error {
	if s.link != nil {
		s.link.Withdraw()
	}
	return s.Close()
}
