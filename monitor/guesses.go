package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// freeGuesses may fail within guessWindow at no cost: somebody mistypes.
	freeGuesses = 10
	guessWindow = time.Minute
	// guessCost is what each further one takes.
	guessCost = time.Second
	// maxGuessers bounds the memory for addresses; beyond it all count as one.
	maxGuessers = 1024
)

// guesses slows down and reports who tries tokens.
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
	said   bool
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

// failed counts a wrong token of an address and returns when it may be answered.
func (g *guesses) failed(ctx context.Context, address string) {
	if n, report := g.count(address); n > freeGuesses {
		if report {
			g.log.WithFields(logrus.Fields{"from": address, "failed": n}).Warn("wrong status_token, again and again: answers are slowed down")
		}
		g.wait(ctx, guessCost)
	}
}

// count returns how many have failed within the window, and whether that is to be
// reported: once in it.
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
	report = one.failed > freeGuesses && !one.said
	one.said = one.said || report
	return one.failed, report
}
