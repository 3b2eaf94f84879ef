package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// maxWorkers is the most workers of one consumer, as of parallel_workers: more is a
// typing mistake.
const maxWorkers = 1000

// scaleRequest is a Scale whose workers have not settled.
type scaleRequest struct {
	ref      uint64
	consumer *consumer
	workers  int
}

func (e Scale) apply(f *Fleet) {
	cs, err := f.named(e.Consumer)
	switch {
	case err != nil:
	case len(cs) > 1:
		err = errors.New("several consumers run here: say which one to scale")
	default:
		err = f.scale(cs[0], e.Workers)
	}
	if err != nil {
		f.answer(e.Ref, err)
		return
	}
	f.scales = append(f.scales, scaleRequest{e.Ref, cs[0], e.Workers})
}

func (by ScaleBy) apply(f *Fleet) {
	for _, c := range f.consumers {
		if err := f.scale(c, c.workers()+int(by)); err != nil {
			f.log(slog.LevelWarn, "number of workers stays", nil, map[string]any{"consumer": c.name, "reason": err.Error()})
		}
	}
}

// scale sets the number of workers of a consumer.
func (f *Fleet) scale(c *consumer, n int) error {
	switch {
	case n < 1 || n > maxWorkers:
		return fmt.Errorf("%s cannot have %d workers: give a number from 1 to %d", c.name, n, maxWorkers)
	case f.shutdown != nil:
		return ErrStopping
	case c.stoppedBecause != "":
		return fmt.Errorf("%s stopped permanently (%s): restart it first", c.name, c.stoppedBecause)
	}
	f.log(slog.LevelInfo, "scaling", nil, map[string]any{"consumer": c.name, "workers": n})
	for i, s := range c.slots {
		switch {
		case i >= n && s.desired != removed:
			s.desired, s.restartAt = removed, time.Time{}
			if s.active == nil {
				s.since = f.now
				f.progress(s, string(s.idleState()), "")
			}
		case i < n && (s.desired == removed || s.desired == pending): // also if the rollout fails that was to add it
			s.desired = running
			f.join(s)
		case i < n && f.rollout != nil && f.rollout.current == s:
			f.rollout.added = false
		}
	}
	for len(c.slots) < n {
		f.join(f.grow(c, running))
	}
	return nil
}

// workers is the number of workers that a consumer is taken to.
func (c *consumer) workers() int {
	n := 0
	for _, s := range c.slots {
		if s.desired == running || s.desired == pending {
			n++
		}
	}
	return n
}

// desiredSlots is the number of slots that a consumer is taken to: all but those that are
// being removed, whose processes may still be there. Those that failed count.
func (c *consumer) desiredSlots() int {
	n := len(c.slots)
	for n > 0 && c.slots[n-1].desired == removed {
		n--
	}
	return n
}

// answerScales answers those that have settled or never will.
func (f *Fleet) answerScales() {
	f.scales = slices.DeleteFunc(f.scales, func(q scaleRequest) bool {
		settled, err := f.scaled(q.consumer, q.workers)
		if settled || err != nil {
			f.answer(q.ref, err)
		}
		return settled || err != nil
	})
}

// scaled reports whether a consumer has just that many workers, all settled; an error
// says why it will not.
func (f *Fleet) scaled(c *consumer, n int) (bool, error) {
	switch desired := c.desiredSlots(); {
	case f.shutdown != nil:
		return false, ErrStopping
	case c.stoppedBecause != "":
		return false, fmt.Errorf("%s stopped permanently: %s", c.name, c.stoppedBecause)
	case desired != n:
		return false, fmt.Errorf("superseded by a later scale (%s)", count(desired))
	case len(c.slots) != n:
		return false, nil // some still stop
	}
	for _, s := range c.slots {
		switch s.state() {
		case status.Starting, status.Stopping, status.Joining:
			return false, nil
		}
	}
	return true, nil
}

func count(workers int) string {
	if workers == 1 {
		return "1 worker"
	}
	return fmt.Sprintf("%d workers", workers)
}
