package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// Source answers with the state of the supervisor beside which it all runs.
type Source func(context.Context) (status.Status, error)

// freshFor is how long an answer serves everybody who asks: a page, a scraper
// and a second page make one question a second, not three.
const freshFor = 900 * time.Millisecond

// cached asks source once for all who ask at about the same time.
type cached struct {
	source Source
	now    func() time.Time

	mu   sync.Mutex // held while asking, so that others wait for that answer
	st   status.Status
	at   time.Time
	good bool
}

func newCached(source Source) *cached { return &cached{source: source, now: time.Now} }

// status returns an answer no older than freshFor. Whoever asks must not change it.
func (c *cached) status(ctx context.Context) (status.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good && c.now().Sub(c.at) < freshFor {
		return c.st, nil
	}
	st, err := c.source(ctx)
	if err != nil {
		return status.Status{}, err
	}
	c.st, c.at, c.good = st, c.now(), true
	return st, nil
}
