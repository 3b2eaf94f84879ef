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
		s.oom.look(s.opts.Spawner)
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

// oomWatch follows the count of out-of-memory kills. It remembers two looks: of
// a kill just before the last one the loop may not have heard yet.
type oomWatch struct {
	looks        int
	older, newer uint64
}

// look takes the count as it is.
func (w *oomWatch) look(sp Spawner) {
	n, ok := sp.OutOfMemoryKills()
	if !ok {
		w.looks = 0
		return
	}
	w.older, w.newer = w.newer, n
	if w.looks == 0 {
		w.older = n
	}
	w.looks++
}

// grew says whether there was such a kill since the last look but one, and uses
// it up: it explains one death.
func (w *oomWatch) grew(sp Spawner) bool {
	n, ok := sp.OutOfMemoryKills()
	if !ok || w.looks == 0 || n <= w.older {
		return false
	}
	w.older++
	w.newer = max(w.newer, w.older)
	return true
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
	reaped, again := s.reaper.look(now, known)
	s.reapAt = again
	if len(reaped) > 0 {
		s.logf(logrus.DebugLevel, "orphans were reaped", logrus.Fields{"pids": reaped})
	}
}
