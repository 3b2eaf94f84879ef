package worker

import (
	"sync/atomic"
	"time"
)

// How fetch sizes begin, and how small they get. A broker sends one batch in any
// case, however large, so that nothing gets stuck.
const (
	fetchFirst = 256 << 10
	fetchLeast = 16 << 10
)

// fetchShare is which part of what the queues may hold one fetch may bring, here a
// half. All of them fills the queues by itself, so that fetching stops and starts
// instead of flowing; and all that one brings lives at once, which garbage collection
// doubles. With less the time for each request counts, as there is one under way per
// broker: docs/performance.md has the figures.
const fetchShare = 2

// budget bounds how much memory fetches take: what is in the queues together, and
// what one fetch may bring, by how much larger the messages are than what travels
// (compression; and Go's overhead for many small ones). With fetchControl it is what a
// client asks.
//
// Fetches begin small and double as long as all is well, like TCP's windows, since
// how much a fetch expands is known only afterwards.
type budget struct {
	t    *turns
	most int64 // max_bytes

	ramp  atomic.Int64 // the next fetch may be that large at most
	times atomic.Int64 // how much fetches expand lately, in percent
}

func newBudget(t *turns, maxBytes int) *budget {
	b := &budget{t: t, most: int64(max(maxBytes, 1))}
	b.ramp.Store(fetchFirst)
	b.times.Store(100)
	return b
}

// Room implements kafka.FetchControl. It is more than Limit expects, since what is left
// out was fetched for nothing.
func (b *budget) Room() int64 { return b.t.limits.bytes * 3 / (2 * fetchShare) }

// Received implements kafka.FetchControl. It learns how much fetches expand: at once when
// it is more than we thought, slowly when it is less.
func (b *budget) Received(wire, decoded int64) {
	if wire < fetchLeast {
		return // says nothing of others
	}
	seen, known := max(100, decoded*100/wire), b.times.Load()
	if seen < known {
		seen = (7*known + seen) / 8
	}
	b.times.Store(seen)
}

// Limit implements kafka.FetchControl. While all queues together are full it
// waits, but no longer than a pump does.
func (b *budget) Limit() int32 {
	t := b.t
	t.mu.Lock()
	if t.bytes >= t.limits.bytes && !t.throttled {
		t.mu.Unlock()
		select {
		case <-t.drained:
		case <-time.After(patience):
		}
		t.mu.Lock()
	}
	free := min(t.limits.bytes-t.bytes, t.limits.bytes/fetchShare)
	t.mu.Unlock()
	ramp := b.ramp.Load()
	b.ramp.Store(min(2*ramp, b.most))
	return int32(min(b.most, ramp, max(fetchLeast, free*100/b.times.Load())))
}
