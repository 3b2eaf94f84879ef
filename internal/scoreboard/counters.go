package scoreboard

import (
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// Counter numbers a counter. A new one is added at the end: a supervisor of another
// release reads the same memory.
type Counter int

// The counters.
const (
	Messages Counter = iota
	Batches
	Errors
	Skipped
	DeadLetters
	Produced
	Acknowledged
	ProduceErrors
	Commits
	CommitErrors
	Rebalances
	Joins
	Pauses
	OffsetGaps
	UnknownMessages
	numCounters
)

// names are the counters' names in a status.
var names = [numCounters]string{
	status.CountMessages, status.CountBatches, status.CountErrors, status.CountSkipped, status.CountDeadLetters,
	status.CountProduced, status.CountAcknowledged, status.CountProduceErrors, status.CountCommits, status.CountCommitErrors,
	status.CountRebalances, status.CountJoins, status.CountPauses, status.CountOffsetGaps, status.CountUnknownMessages,
}

// Bounds of the histogram of processing times, in seconds.
var Bounds = [...]float64{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300}

// Counters are those of a worker since its process started. They are kept in the shared
// memory alone, so that none is lost with the process and no two disagree.
type Counters struct {
	n     [32]atomic.Uint64 // numCounters of them are in use
	times [16]atomic.Uint64 // len(Bounds)+1 of them are in use
	sum   atomic.Int64      // of processing times, ns
	cpu   atomic.Int64      // user and system, ns
}

// Add counts.
func (c *Counters) Add(what Counter, n uint64) { c.n[what].Add(n) }

// AddTimes adds calls to the histogram: n[i] of them took at most Bounds[i].
func (c *Counters) AddTimes(n *[len(Bounds) + 1]uint64, sum time.Duration) {
	c.sum.Add(int64(sum))
	for i, n := range n {
		if n > 0 {
			c.times[i].Add(n)
		}
	}
}

// SetCPU records the CPU time that the process has used.
func (c *Counters) SetCPU(d time.Duration) { c.cpu.Store(int64(d)) }

// Work returns the counters by name.
func (c *Counters) Work() status.Work {
	w := status.Work{
		Counters: make(map[string]uint64, numCounters),
		Times:    status.Histogram{Bounds: Bounds[:], Counts: make([]uint64, len(Bounds)+1), Sum: time.Duration(c.sum.Load()).Seconds()},
		CPU:      time.Duration(c.cpu.Load()).Seconds(),
	}
	for i, name := range names {
		w.Counters[name] = c.n[i].Load()
	}
	for i := range w.Times.Counts {
		w.Times.Counts[i] = c.times[i].Load()
	}
	return w
}
