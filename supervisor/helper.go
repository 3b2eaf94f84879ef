package supervisor

import (
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// helper is a child that does one thing and exits: it loads a plan, or removes members
// from groups.
type helper struct {
	child   *child
	what    string
	answer  wire.Kind // the only kind of message it sends
	message func(time.Time, wire.Envelope) error
	// exited is called once, when it has; dropped instead, when the loop ends first.
	exited  func(time.Time, fleet.Exit)
	dropped func()
	limit   *time.Timer
}

// startHelper starts a helper. It is killed when it takes longer than within.
func (s *Supervisor) startHelper(spec process.Spec, what string, within time.Duration) (*helper, error) {
	started, err := s.opts.Spawner.Spawn(spec)
	if err != nil {
		return nil, err
	}
	h := &helper{child: serveChild(started, s.deliver, &s.wg), what: what}
	s.helpers[h.child] = h
	h.expire(s, within)
	return h, nil
}

// expire kills the helper after that time.
func (h *helper) expire(s *Supervisor, within time.Duration) {
	if h.limit != nil {
		h.limit.Stop()
	}
	h.limit = time.AfterFunc(within, func() {
		s.deliver(func(time.Time) {
			if s.helpers[h.child] != nil {
				s.logf(logrus.WarnLevel, "a helper process took too long and was killed", logrus.Fields{"pid": h.child.process.PID(), "for": h.what})
				s.signalChild(h.child, syscall.SIGKILL)
			}
		})
	})
}

// finish makes the helper exit: it sees EOF.
func (h *helper) finish() { _ = h.child.process.Socket().Close() }

func (s *Supervisor) helperReceived(now time.Time, m message) {
	h := s.helpers[m.child]
	if h == nil || h.message == nil {
		return
	}
	if m.env.Kind != h.answer {
		s.ignored(m.child, m.env.Kind)
		return
	}
	if err := h.message(now, m.env); err != nil {
		s.logf(logrus.WarnLevel, "message of a helper process cannot be decoded", logrus.Fields{"for": h.what, "error": err.Error()})
	}
}

func (s *Supervisor) helperExited(now time.Time, e exited) {
	h := s.helpers[e.child]
	delete(s.helpers, e.child)
	h.limit.Stop()
	if h.exited != nil {
		h.exited(now, e.exit)
	}
}
