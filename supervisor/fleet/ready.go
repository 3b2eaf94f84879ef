package fleet

import (
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// checkReady notices once that the supervisor is ready: all workers are up. One that still
// crashes is waited for until readyBy; then one worker of each consumer suffices. A
// consumer that has stopped permanently is not waited for, but when all have, the
// supervisor is never ready: checkFailed stops it with the reason.
func (f *Fleet) checkReady() {
	if f.ready || f.shutdown != nil {
		return
	}
	late, some := !f.now.Before(f.readyBy()), false
	for _, c := range f.consumers {
		if c.stoppedBecause != "" {
			continue
		}
		some = true
		if up, missing := c.up(); missing > 0 && (up == 0 || !late) {
			return
		}
	}
	if some {
		f.ready = true
		f.do(Ready{})
	}
}

// up counts the workers that are up, and those that have to be and are not.
func (c *consumer) up() (up, missing int) {
	for _, s := range c.slots {
		switch {
		case s.up():
			up++
		case s.desired == running || s.desired == pending:
			missing++
		}
	}
	return up, missing
}

// up reports whether the slot's process is in a state that follows its start.
func (s *slot) up() bool {
	if s.active == nil {
		return false
	}
	switch s.active.frame.State {
	case status.Waiting, status.Joining, status.Running, status.Quiet:
		return true
	}
	return false
}

// readyBy is until when readiness waits for workers that still crash.
func (f *Fleet) readyBy() time.Time {
	var longest time.Duration
	for _, c := range f.consumers {
		longest = max(longest, c.release.config().WorkerBootTimeout)
	}
	return f.started.Add(longest)
}
