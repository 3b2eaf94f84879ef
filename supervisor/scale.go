package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
)

// prune removes slots that were scaled away, from the top.
func (r *registry) prune() {
	for _, c := range r.consumers {
		if c.fatal != "" || r.ending != nil {
			continue
		}
		for n := len(c.slots); n > 0; n-- {
			s := c.slots[n-1]
			if s.wanted || s.cur != nil || s.next != nil || s.idle == status.Fatal {
				break
			}
			c.retired(s)
			c.slots = c.slots[:n-1]
		}
	}
}

// scale sets the number of workers of a consumer.
func (r *registry) scale(now time.Time, c *consumer, n int) error {
	r.now = now
	switch {
	case n < 1 || n > maxWorkers:
		return fmt.Errorf("%s cannot have %d workers: give a number from 1 to %d", c.name, n, maxWorkers)
	case r.ending != nil:
		return errStopping
	case c.fatal != "":
		return fmt.Errorf("%s was given up (%s): restart it first", c.name, c.fatal)
	}
	r.do(doLog{logrus.InfoLevel, "scaling", logrus.Fields{"consumer": c.name, "workers": n}})
	for i, s := range slices.Clone(c.slots) {
		switch {
		case i >= n && s.wanted:
			s.wanted = false
			r.dropNext(s)
			if s.cur != nil {
				r.stopProc(s.cur, stopScale, true)
			} else {
				r.leaveFor(s)
				r.retire(s)
			}
		case i >= n && s.cur == nil && s.idle == status.Fatal: // no roll is to revive it
			if r.roll != nil {
				delete(r.roll.revives, s)
			}
			r.retire(s)
		case i < n && !s.wanted && s.idle != status.Fatal:
			s.wanted = true
			if s.cur == nil { // else its end starts the next one
				r.start(s, c.rel)
			}
		}
	}
	for len(c.slots) < n {
		s := c.grow(now)
		r.start(s, c.rel)
		if ro := r.roll; ro != nil && ro.targets[c] != nil { // its turn comes too
			ro.queue = append(ro.queue, s)
			ro.total++
		}
	}
	r.prune()
	return nil
}

// maxWorkers is the most workers of one consumer, as of parallel_workers: more is
// a typing mistake.
const maxWorkers = 1000

// scaleOrder is a Scale that waits for its workers.
type scaleOrder struct {
	consumer *consumer
	workers  int
	done     func(error)
}

// answerScales answers the orders that are carried out or cannot be any more.
func (s *Supervisor) answerScales() {
	s.scales = slices.DeleteFunc(s.scales, func(o scaleOrder) bool {
		settled, err := s.reg.scaled(o.consumer, o.workers)
		if settled || err != nil {
			o.done(err)
		}
		return settled || err != nil
	})
}

// scaled reports whether a consumer has just that many workers, all settled; an
// error says why it will not.
func (r *registry) scaled(c *consumer, n int) (bool, error) {
	switch desired := c.places(); {
	case r.ending != nil:
		return false, errStopping
	case c.fatal != "":
		return false, fmt.Errorf("%s was given up: %s", c.name, c.fatal)
	case desired != n:
		return false, fmt.Errorf("superseded by a later scale (%s)", workers(desired))
	case len(c.slots) != n:
		return false, nil // some still stop
	}
	for _, s := range c.slots {
		switch s.status(func(*proc) bool { return false }).State {
		case status.Starting, status.Stopping, status.Joining:
			return false, nil
		}
	}
	return true, nil
}

func workers(n int) string {
	if n == 1 {
		return "1 worker"
	}
	return fmt.Sprintf("%d workers", n)
}
