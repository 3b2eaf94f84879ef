package supervisor

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/supervisor/fleet"
)

// weighEvery is how often memory is asked for where there is a limit.
const weighEvery = 5 * time.Second

// observe looks at all workers from outside, once every fleet.ObserveEvery.
func (s *Supervisor) observe(now time.Time) {
	if now.Sub(s.observed) < fleet.ObserveEvery {
		return
	}
	s.observed = now
	s.reportCheck(now)
	weigh := now.Sub(s.weighed) >= weighEvery
	if weigh {
		s.weighed = now
		s.oom.Update(s.opts.Spawner)
	}
	var all fleet.Observed
	for id, c := range s.workers {
		o := fleet.Observation{Proc: id, InHand: c.process.InHand(), Unread: c.process.HasUnread(), Received: c.lastReceived()}
		silent := now.Sub(o.Received) >= fleet.LeastSilence
		weighed := weigh && c.memoryLimit > 0
		if silent || weighed {
			if u, err := c.process.Usage(); err == nil {
				o.Stopped = u.Stopped
				if weighed {
					o.RSS = u.RSS
				}
			}
		}
		all = append(all, o)
	}
	s.step(now, all)
	if !s.reapAt.IsZero() && !now.Before(s.reapAt) {
		s.reap(now)
	}
}

// reap reaps processes that have become our children, as PID 1.
func (s *Supervisor) reap(now time.Time) {
	known := map[int]bool{}
	for _, c := range s.workers {
		known[c.process.PID()] = true
	}
	for c := range s.helpers {
		known[c.process.PID()] = true
	}
	reaped, next := s.reaper.Reap(now, known)
	s.reapAt = next
	if len(reaped) > 0 {
		s.logf(logrus.DebugLevel, "orphans were reaped", logrus.Fields{"pids": reaped})
	}
}
