package worker

import (
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// stat numbers a counter.
type stat int

const (
	statMessages stat = iota
	statBatches
	statErrors
	statSkipped
	statDeadLetters
	statProduced
	statAcknowledged
	statProduceErrors
	statCommits
	statCommitErrors
	statRebalances
	statJoins
	statPauses
	statOffsetGaps
	stats_
)

// statNames are the counters' names in a report.
var statNames = [stats_]string{
	status.CountMessages, status.CountBatches, status.CountErrors, status.CountSkipped, status.CountDeadLetters,
	status.CountProduced, status.CountAcknowledged, status.CountProduceErrors, status.CountCommits, status.CountCommitErrors,
	status.CountRebalances, status.CountJoins, status.CountPauses, status.CountOffsetGaps,
}

// bounds of the histogram of processing times, in seconds.
var bounds = [...]float64{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300}

// counters are what a worker has done since its process started.
type counters struct {
	n    [stats_]atomic.Uint64
	hist [len(bounds) + 1]atomic.Uint64
	sum  atomic.Int64 // of processing times, ns
}

func (c *counters) add(s stat, n uint64) { c.n[s].Add(n) }

// report returns the counters by name, and the histogram.
func (c *counters) report() (map[string]uint64, status.Histogram) {
	m := make(map[string]uint64, stats_)
	for i, name := range statNames {
		m[name] = c.n[i].Load()
	}
	h := status.Histogram{Bounds: bounds[:], Counts: make([]uint64, len(c.hist)), Sum: time.Duration(c.sum.Load()).Seconds()}
	for i := range c.hist {
		h.Counts[i] = c.hist[i].Load()
	}
	return m, h
}

// tally is what an executor has counted in a turn: adding it up at the end
// spares each message a dozen atomic operations.
type tally struct {
	messages, batches, errors uint64
	hist                      [len(bounds) + 1]uint64
	sum                       time.Duration
}

func (t *tally) observe(messages int, d time.Duration, failed, batch bool) {
	t.messages += uint64(messages)
	if batch {
		t.batches++
	}
	if failed {
		t.errors++
		t.messages -= uint64(messages)
	}
	t.sum += d
	i := 0
	for s := d.Seconds(); i < len(bounds) && s > bounds[i]; i++ {
	}
	t.hist[i]++
}

// flush adds it to the partition's and the worker's counters.
func (t *tally) flush(p *partition, c *counters) {
	p.messages.Add(t.messages)
	p.errors.Add(t.errors)
	c.add(statMessages, t.messages)
	c.add(statBatches, t.batches)
	c.add(statErrors, t.errors)
	c.sum.Add(int64(t.sum))
	for i, n := range t.hist {
		if n > 0 {
			c.hist[i].Add(n)
		}
	}
	*t = tally{}
}
