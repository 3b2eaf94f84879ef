package supervisor

import (
	"time"

	"github.com/sirupsen/logrus"
)

// watch looks at all workers once a tick.
func (s *Supervisor) watch(now time.Time) {
	if now.Sub(s.looked) < tick {
		return
	}
	s.looked = now
	s.tellCheck(now)
	weigh := now.Sub(s.weighed) >= memoryEvery
	if weigh {
		s.weighed = now
		s.oom.Update(s.opts.Spawner)
	}
	for p, c := range s.children {
		seen := sight{
			inHand: c.process.InHand(),
			unread: c.process.Unread(),
			heard:  c.lastHeard(),
			stopped: func() bool {
				u, err := c.process.Usage()
				return err == nil && u.Stopped
			},
		}
		if weigh && p.rel.config().WorkerMemoryLimit > 0 {
			if u, err := c.process.Usage(); err == nil {
				seen.rss = u.RSS
			}
		}
		s.reg.seen(now, p, seen)
	}
	if !s.reapAt.IsZero() && !now.Before(s.reapAt) {
		s.reap(now)
	}
	if now.Sub(s.swept) >= suspectsEvery {
		s.swept = now
		s.reg.askAfterSuspects()
	}
}

// reap looks for processes that have become our children, as PID 1.
func (s *Supervisor) reap(now time.Time) {
	known := map[int]bool{}
	for c := range s.procs {
		known[c.process.PID()] = true
	}
	for c := range s.shots {
		known[c.process.PID()] = true
	}
	reaped, again := s.reaper.Reap(now, known)
	s.reapAt = again
	if len(reaped) > 0 {
		s.logf(logrus.DebugLevel, "orphans were reaped", logrus.Fields{"pids": reaped})
	}
}
