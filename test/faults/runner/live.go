package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// lasting notes the beginning or the end of a fault that lasts, for the live line.
func (r *run) lasting(e schedule.Event, begins bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begins {
		r.now = append(r.now, e)
		return
	}
	if i := slices.Index(r.now, e); i >= 0 {
		r.now = slices.Delete(r.now, i, i+1)
	}
}

// watch shows once a second how it stands, until the function it returns is called.
func (r *run) watch(ctx context.Context) (stop func()) {
	if r.Live == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.Live(r.line(ctx))
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// line is how it stands: what was fed and processed, the workers by state, the
// group's generation, and what is broken.
func (r *run) line(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	line := fmt.Sprintf("%6.1fs fed %d", time.Since(r.begun).Seconds(), r.fed.sent.Load())
	c := r.product().control()
	defer c.Close()
	if s, err := c.Status(ctx); err != nil {
		line += ", supervisor silent"
	} else {
		states := map[status.State]int{}
		var generation int32
		for _, w := range s.Workers {
			states[w.State]++
			for _, p := range w.Members {
				generation = max(generation, p.Generation)
			}
		}
		var counts []string
		for state, n := range states {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
		slices.Sort(counts)
		line += fmt.Sprintf(", processed %d, %s, generation %d", s.Totals[status.CountMessages], strings.Join(counts, " "), generation)
	}
	if broken := r.broken(); len(broken) > 0 {
		line += "; broken: " + strings.Join(broken, " ")
	}
	return line
}

func (r *run) broken() []string {
	var names []string
	for _, b := range r.cluster.Brokers() {
		if state := b.State(); state != cluster.Running {
			names = append(names, fmt.Sprintf("broker-%d-%s", b.ID, state))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.now {
		names = append(names, string(e.Fault))
	}
	return names
}
