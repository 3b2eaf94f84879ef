package monitor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

const (
	// sampleEvery and samples make the graphs of the page five minutes long.
	sampleEvery = 5 * time.Second
	samples     = 60
)

// history keeps the last minutes, so that a page shows them as soon as it is opened. A
// thousand partitions take a quarter of a megabyte.
type history struct {
	mu    sync.Mutex
	n     int // samples taken so far
	rate  ring
	lag   ring
	parts map[string]*ring // lag by topic/partition
}

// ring holds the last samples; -1: no value.
type ring struct {
	values [samples]float32
	last   int // number of the sample that was added last
}

func newRing() *ring {
	r := &ring{}
	for i := range r.values {
		r.values[i] = -1
	}
	return r
}

func (r *ring) add(n int, v float64) {
	r.values[n%samples] = float32(v)
	r.last = n
}

// list returns the values, the oldest first.
func (r *ring) list(n int) []float32 {
	out := make([]float32, 0, samples)
	for i := max(0, n-samples); i < n; i++ {
		v := r.values[i%samples]
		if i > r.last || i <= r.last-samples {
			v = -1
		}
		out = append(out, v)
	}
	return out
}

func newHistory() *history {
	return &history{rate: *newRing(), lag: *newRing(), parts: map[string]*ring{}}
}

// run samples until ctx ends. A question that fails leaves a gap.
func (h *history) run(ctx context.Context, ask func(context.Context) (status.Status, error)) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if st, err := ask(ctx); err == nil {
			h.take(st)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *history) take(st status.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.n
	h.n++
	rate, lag := 0.0, 0.0
	for k, p := range ownedPartitions(st) {
		rate += p.Rate
		lag += float64(max(0, p.Lag))
		name := fmt.Sprintf("%s %s/%d", k.consumer, k.topic, k.number)
		r := h.parts[name]
		if r == nil {
			r = newRing()
			h.parts[name] = r
		}
		r.add(n, float64(p.Lag))
	}
	h.rate.add(n, rate)
	h.lag.add(n, lag)
	for name, r := range h.parts {
		if r.last < n-samples {
			delete(h.parts, name) // nobody here has had it for five minutes
		}
	}
}

// historyJSON is the body of /v1/history.
type historyJSON struct {
	Every      float64              `json:"every"` // seconds between values
	Rate       []float32            `json:"rate"`
	Lag        []float32            `json:"lag"`
	Partitions map[string][]float32 `json:"partitions"` // by "CONSUMER TOPIC/PARTITION"
}

func (h *history) json() historyJSON {
	h.mu.Lock()
	defer h.mu.Unlock()
	j := historyJSON{Every: sampleEvery.Seconds(), Rate: h.rate.list(h.n), Lag: h.lag.list(h.n), Partitions: make(map[string][]float32, len(h.parts))}
	for name, r := range h.parts {
		j.Partitions[name] = r.list(h.n)
	}
	return j
}
