package worker

import (
	"time"

	"github.com/IBM/sarama"
)

// patience is how long a pump may wait for room. Meanwhile sarama delivers to no
// other partition of that broker, so it is short; a partition that makes it wait
// longer is not fetched for a while, and what has been fetched is taken anyway.
const patience = 20 * time.Millisecond

// pump moves what a claim delivers into its partition's queue.
type pump struct {
	t     *turns
	p     *partition
	claim sarama.ConsumerGroupClaim
	timer *time.Timer
	buf   []*sarama.ConsumerMessage
	bytes int64
}

func newPump(t *turns, p *partition, claim sarama.ConsumerGroupClaim) *pump {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &pump{t: t, p: p, claim: claim, timer: timer, buf: make([]*sarama.ConsumerMessage, 0, 2*chunkSize)}
}

// run pumps until the claim's channel is closed or the partition is known to go.
func (u *pump) run() {
	messages := u.claim.Messages()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return
			}
			if !u.gather(m, messages) {
				u.push()
				return
			}
			u.push()
		case <-u.p.leaving:
			return
		}
	}
}

// gather takes what else is there already; false when the channel is closed.
func (u *pump) gather(m *sarama.ConsumerMessage, messages <-chan *sarama.ConsumerMessage) bool {
	u.buf, u.bytes = append(u.buf[:0], m), size(m)
	for len(u.buf) < cap(u.buf) {
		select {
		case m, ok := <-messages:
			if !ok {
				return false
			}
			u.buf = append(u.buf, m)
			u.bytes += size(m)
		default:
			return true
		}
	}
	return true
}

// push waits for room, but not for long, and queues what was gathered.
func (u *pump) push() {
	t, p := u.t, u.p
	if t.batch > 0 { // messages wait until there is a batch of them
		own(u.buf)
	}
	waited := false
	var changed []*partition
	t.mu.Lock()
	for t.full(p) && p.fetching && !p.retiring {
		if waited || t.slow(p) {
			p.fetching = false
			changed = append(changed, p)
			break
		}
		t.wake.Signal() // see turns.gathers
		t.mu.Unlock()
		u.timer.Reset(patience)
		select {
		case <-p.room:
			u.timer.Stop()
		case <-u.timer.C:
			waited = true
		case <-p.leaving:
			u.timer.Stop()
		}
		t.mu.Lock()
	}
	p.endOffset.Store(u.claim.HighWaterMarkOffset())
	p.last = u.buf[len(u.buf)-1].Offset
	if !p.retiring {
		p.queue.push(u.buf, u.bytes)
		t.bytes += u.bytes
		if !p.busy {
			t.wake.Signal()
		}
	}
	if waited && t.bytes >= t.limits.bytes {
		changed = append(changed, t.throttle()...)
	} else if t.throttled && p.fetching {
		p.fetching = false // it was fed
		changed = append(changed, p)
	}
	t.mu.Unlock()
	clear(u.buf)
	t.tell(changed)
}

// slow reports whether p's queue will certainly not have room soon. Called with
// turns.mu held.
func (t *turns) slow(p *partition) bool {
	if p.operator || p.forever || !p.until.IsZero() && p.until.After(t.clock.now()) {
		return true
	}
	return p.pace > 0 && float64(p.queue.n)/p.pace > 4*patience.Seconds()
}
