package monitor

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// Source returns the state of the supervisor that the monitor runs beside.
type Source func(context.Context) (status.Status, error)

const (
	// statusFresh is how long one answer serves everybody who asks: a page, a scraper and a
	// second page cost one question a second, not three.
	statusFresh = 900 * time.Millisecond
	// briefFresh is the same for health checks, which nobody needs a token for: however many
	// come, the supervisor answers ten a second.
	briefFresh = 100 * time.Millisecond
	// sourceTimeout bounds a question to the supervisor. Workers have a second to report;
	// the answer leaves out those that do not.
	sourceTimeout = 5 * time.Second
)

// cached asks a source once for all who ask at about the same time.
type cached struct {
	source Source
	fresh  time.Duration
	now    func() time.Time

	asking chan struct{} // full while somebody asks; guards the other fields
	st     status.Status
	at     time.Time // zero: there was no answer yet
}

func newCached(source Source, fresh time.Duration) *cached {
	return &cached{source: source, fresh: fresh, now: time.Now, asking: make(chan struct{}, 1)}
}

// status returns an answer that is younger than c.fresh, or an error when ctx or
// sourceTimeout ends. Callers must not change the answer.
func (c *cached) status(ctx context.Context) (status.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return status.Status{}, context.Cause(ctx)
	}
	if !c.at.IsZero() && c.now().Sub(c.at) < c.fresh {
		return c.st, nil
	}
	st, err := c.source(ctx)
	if err != nil {
		return status.Status{}, err
	}
	c.st, c.at = st, c.now()
	return st, nil
}
