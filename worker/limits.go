package worker

import (
	"time"

	"github.com/racecar-go/racecar/config"
)

// limits bound what a worker holds in its queues. Beyond them a partition is not
// fetched any more; what sarama has already fetched still comes.
type limits struct {
	// messages is how many of a partition are held at least before fetching stops
	// (min_message_queue_size); more when it is fast.
	messages int
	// bytes is for all partitions together (2 × max_bytes), decompressed.
	bytes int64
	// lead is how long fetching takes to start again: a broker may be holding a
	// request of the other partitions for max_wait_time.
	lead time.Duration
}

// minShare is the least a partition may hold, however many there are.
const minShare = 64 << 10

func newLimits(c *config.Config) limits {
	return limits{
		messages: max(c.MinMessageQueueSize, 2*c.FetchMessages, 2*chunkSize),
		bytes:    2 * int64(max(c.MaxBytes, 1<<20)),
		lead:     c.MaxWaitTime + 250*time.Millisecond,
	}
}

// full reports whether p holds enough. Called with turns.mu held.
func (t *turns) full(p *partition) bool {
	if p.queue.n == 0 {
		return false
	}
	return p.queue.n >= t.target(p)*2 || t.heavy(p)
}

// low reports whether p should be fetched again. Called with turns.mu held.
func (t *turns) low(p *partition) bool {
	return p.queue.n == 0 || p.queue.n <= t.target(p) && !t.heavy(p)
}

// tellSarama has sarama fetch p or not, as p.fetching says. Pump and executor may
// change that at the same time, so it is looked at only when it is told.
func (t *turns) tellSarama(p *partition) {
	p.telling.Lock()
	defer p.telling.Unlock()
	t.mu.Lock()
	on := p.fetching
	t.mu.Unlock()
	p.m.fetch(p.tp, on)
}

// target is the number of messages p should have in stock.
func (t *turns) target(p *partition) int {
	return max(t.limits.messages, int(p.pace*t.limits.lead.Seconds()))
}

// heavy reports whether p holds more bytes than its share, or more than
// nothing when all together hold too much.
func (t *turns) heavy(p *partition) bool {
	share := max(minShare, t.limits.bytes/int64(max(1, t.parts)))
	return p.queue.bytes >= share && (t.bytes >= t.limits.bytes || p.queue.bytes >= t.limits.bytes/2)
}
