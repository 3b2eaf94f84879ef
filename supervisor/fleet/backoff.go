package fleet

import (
	"time"

	"github.com/racecar-go/racecar/config"
)

const (
	// firstBackoff and maxBackoff bound the wait before a restart: none after the first
	// crash, then firstBackoff, doubling.
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	// healthyAfter is how long a process must have lived since its first frame
	// for its crash to be a first one again.
	healthyAfter = 60 * time.Second
	// crashWindow is the minute of worker_restart_limit.
	crashWindow = time.Minute
	// jitter is the share of a backoff that is drawn at random, so that slots
	// that crashed together (brokers gone) do not come back together.
	jitter = 0.2
)

// crashes are the crashes of one slot, from which its restarts follow.
type crashes struct {
	consecutive int         // without a healthy minute in between
	counted     []time.Time // those that count against the slot: see add
}

// add adds a crash. healthy is how long the process had been healthy, counts whether the
// crash counts against the slot. Those of the last minute count, or all with ever: before
// the consumer has been ready, a crash that takes long (a constructor with a timeout) must
// not escape the limit. It returns the wait before the next start and whether the limit
// is exceeded. draw is uniform in [0,1).
func (c *crashes) add(now time.Time, healthy time.Duration, counts, ever bool, limit int, draw float64) (wait time.Duration, exceeded bool) {
	if healthy >= healthyAfter {
		c.consecutive = 0
	}
	c.consecutive++
	recent := c.counted[:0]
	for _, at := range c.counted {
		if ever || now.Sub(at) < crashWindow {
			recent = append(recent, at)
		}
	}
	c.counted = recent
	if counts && limit != config.NeverGiveUp {
		c.counted = append(c.counted, now)
		exceeded = len(c.counted) > limit
	}
	return backoff(c.consecutive, draw), exceeded
}

// backoff is the wait after the nth crash in a row.
func backoff(n int, draw float64) time.Duration {
	if n <= 1 {
		return 0
	}
	d := maxBackoff
	if n < 8 {
		d = min(maxBackoff, firstBackoff<<(n-2))
	}
	return d - time.Duration(jitter*draw*float64(d))
}
