package worker

import (
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
)

// tally is what an executor has counted in a quantum: adding it up at the end
// spares each message a dozen atomic operations.
type tally struct {
	messages, batches, errors uint64
	times                     [len(scoreboard.Bounds) + 1]uint64
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
	for s := d.Seconds(); i < len(scoreboard.Bounds) && s > scoreboard.Bounds[i]; i++ {
	}
	t.times[i]++
}

// flush adds it to the partition's and the worker's counters.
func (t *tally) flush(p *partition, c *scoreboard.Counters) {
	p.count(c, t.messages)
	p.errors.Add(t.errors)
	c.Add(scoreboard.Errors, t.errors)
	c.Add(scoreboard.Batches, t.batches)
	c.AddTimes(&t.times, t.sum)
	*t = tally{}
}

// count adds messages that p's position has moved over.
func (p *partition) count(c *scoreboard.Counters, messages uint64) {
	p.messages.Add(messages)
	c.Add(scoreboard.Messages, messages)
}
