package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// freeGuesses is how many wrong tokens within guessWindow are answered at once: people
	// mistype.
	freeGuesses = 10
	guessWindow = time.Minute
	// guessCost is the delay of each further one.
	guessCost = time.Second
	// maxGuessers bounds the memory for addresses; all further ones count as one.
	maxGuessers = 1024
)

// guesses slows down clients that guess tokens, and logs their addresses.
type guesses struct {
	log  logrus.FieldLogger
	now  func() time.Time
	wait func(context.Context, time.Duration)

	mu   sync.Mutex
	from map[string]*guesser
}

type guesser struct {
	failed int
	since  time.Time
	logged bool
}

func newGuesses(log logrus.FieldLogger) *guesses {
	return &guesses{log: log, now: time.Now, wait: pause, from: map[string]*guesser{}}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// failed counts a wrong token of an address and waits until it may be answered.
func (g *guesses) failed(ctx context.Context, address string) {
	if n, report := g.count(address); n > freeGuesses {
		if report {
			g.log.WithFields(logrus.Fields{"from": address, "failed": n}).Warn("many wrong values of status_token: answers are delayed")
		}
		g.wait(ctx, guessCost)
	}
}

// count returns how many tokens were wrong within the window, and whether to log that, which
// happens once per window.
func (g *guesses) count(address string) (failed int, report bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	one := g.from[address]
	if one == nil && len(g.from) >= maxGuessers {
		for a, other := range g.from {
			if now.Sub(other.since) >= guessWindow {
				delete(g.from, a)
			}
		}
		if len(g.from) >= maxGuessers {
			address = "many"
			one = g.from[address]
		}
	}
	if one == nil || now.Sub(one.since) >= guessWindow {
		one = &guesser{since: now}
		g.from[address] = one
	}
	one.failed++
	report = one.failed > freeGuesses && !one.logged
	one.logged = one.logged || report
	return one.failed, report
}
