package worker

import (
	"time"

	"github.com/racecar-go/racecar/config"
)

// limits bound what a worker holds of messages. Beyond them a partition is not
// fetched any more; what sarama has already fetched still comes.
type limits struct {
	// messages is how many of a partition are held at least before fetching stops
	// (min_message_queue_size); more when it is fast.
	messages int
	// bytes is for all partitions together (2 × max_bytes), decompressed: what is in
	// queues and in work, and what is kept until its output is acknowledged.
	bytes int64
	// lead is how long fetching takes to start again: a broker may be holding a
	// request of the other partitions for max_wait_time.
	lead time.Duration
}

// kept is how many bytes of messages may be kept until their output is acknowledged.
func (l limits) kept() int64 { return l.bytes / 2 }

func newLimits(c *config.Config) limits {
	return limits{
		messages: max(c.MinMessageQueueSize, 2*c.FetchMessages, 2*chunkSize),
		bytes:    2 * int64(max(c.MaxBytes, 1<<20)),
		lead:     c.MaxWaitTime + 250*time.Millisecond,
	}
}

// pumped notes that a pump works for p, and whether it is to be fetched now.
func (t *turns) pumped(p *partition) {
	t.mu.Lock()
	t.claims[p] = struct{}{}
	p.fetching = !t.throttled && p.bad == nil
	t.mu.Unlock()
	t.tellSarama(p)
}

// throttle stops fetching altogether; it returns those to tell sarama of. Called
// with turns.mu held.
func (t *turns) throttle() (changed []*partition) {
	if t.throttled {
		return nil
	}
	t.throttled = true
	t.wake.Broadcast() // see turns.gathers
	for p := range t.claims {
		if p.fetching {
			p.fetching = false
			changed = append(changed, p)
		}
	}
	return changed
}

// ease goes on fetching once half of what is allowed has been processed. Called
// with turns.mu held.
func (t *turns) ease() (changed []*partition) {
	if !t.throttled || t.bytes > t.limits.bytes/2 {
		return nil
	}
	t.throttled = false
	poke(t.drained)
	for p := range t.claims {
		if !p.fetching && t.low(p) {
			p.fetching = true
			changed = append(changed, p)
		}
	}
	return changed
}

// feed has partitions fetched that hold nothing, although all together hold too
// much: an executor has nothing to do, so what is held cannot be processed now
// (its partitions are paused or failing), and others are not to wait for that.
// Called with turns.mu held.
func (t *turns) feed() (changed []*partition) {
	if !t.throttled {
		return nil
	}
	for p := range t.claims {
		if !p.fetching && !p.busy && p.queue.n == 0 && p.at == len(p.cur) && !p.operator && !p.forever && p.bad == nil {
			p.fetching = true
			changed = append(changed, p)
		}
	}
	return changed
}

// tell tells sarama of several.
func (t *turns) tell(ps []*partition) {
	for _, p := range ps {
		t.tellSarama(p)
	}
}

// full reports whether p holds enough. Called with turns.mu held.
func (t *turns) full(p *partition) bool {
	if p.queue.n == 0 {
		return false
	}
	return t.bytes >= t.limits.bytes || p.queue.n >= t.target(p)*2 || t.heavy(p)
}

// low reports whether p should be fetched again. Called with turns.mu held.
func (t *turns) low(p *partition) bool {
	return !t.throttled && p.bad == nil && (p.queue.n == 0 || p.queue.n <= t.target(p) && !t.heavy(p))
}

// tellSarama has sarama fetch p or not, as p.fetching says. Pump and executor may
// change that at the same time, so it is looked at only when it is told. Of a claim
// that was removed meanwhile nothing is told: sarama keeps a pause for the next claim
// of that partition, which would not know of it.
func (t *turns) tellSarama(p *partition) {
	p.telling.Lock()
	defer p.telling.Unlock()
	t.mu.Lock()
	on := p.fetching
	_, ours := t.claims[p]
	t.mu.Unlock()
	if ours {
		p.m.fetch(p.tp, on)
	}
}

// released has sarama forget of a removed claim whether it was fetched.
func (t *turns) released(p *partition) {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.m.fetch(p.tp, true)
}

// target is the number of messages p should have in stock.
func (t *turns) target(p *partition) int {
	return max(t.limits.messages, int(p.pace*t.limits.lead.Seconds()))
}

// heavy reports whether p alone holds half of what all may.
func (t *turns) heavy(p *partition) bool { return p.queue.bytes >= t.limits.bytes/2 }
