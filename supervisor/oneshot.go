package supervisor

import (
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// oneShot is a child that does one thing and ends: it loads a plan, or leaves
// groups.
type oneShot struct {
	child   *child
	what    string
	answer  wire.Kind // the only kind of message it sends
	message func(time.Time, wire.Envelope) error
	// gone is called once, when it has ended; drop instead, when the loop ends first.
	gone  func(time.Time, fleet.Exit)
	drop  func()
	limit *time.Timer
}

// shoot starts a one-shot. It is killed when it takes longer than within.
func (s *Supervisor) shoot(spec process.Spec, what string, within time.Duration) (*oneShot, error) {
	started, err := s.opts.Spawner.Spawn(spec)
	if err != nil {
		return nil, err
	}
	shot := &oneShot{child: adopt(started, s.deliver, &s.wg), what: what}
	s.shots[shot.child] = shot
	shot.expire(s, within)
	return shot, nil
}

// expire kills the one-shot after that time.
func (o *oneShot) expire(s *Supervisor, within time.Duration) {
	if o.limit != nil {
		o.limit.Stop()
	}
	o.limit = time.AfterFunc(within, func() {
		s.deliver(func(time.Time) {
			if s.shots[o.child] != nil {
				s.logf(logrus.WarnLevel, "a helper process took too long and was killed", logrus.Fields{"pid": o.child.process.PID(), "for": o.what})
				s.signalChild(o.child, syscall.SIGKILL)
			}
		})
	})
}

// finish lets the one-shot end: it sees EOF.
func (o *oneShot) finish() { _ = o.child.process.Socket().Close() }

func (s *Supervisor) shotReceived(now time.Time, e received) {
	shot := s.shots[e.child]
	if shot == nil || shot.message == nil {
		return
	}
	if e.env.Kind != shot.answer {
		s.ignored(e.child, e.env.Kind)
		return
	}
	if err := shot.message(now, e.env); err != nil {
		s.logf(logrus.WarnLevel, "message of a helper process was not understood", logrus.Fields{"for": shot.what, "error": err.Error()})
	}
}

func (s *Supervisor) shotGone(now time.Time, e gone) {
	shot := s.shots[e.child]
	delete(s.shots, e.child)
	shot.limit.Stop()
	if shot.gone != nil {
		shot.gone(now, e.exit)
	}
}
