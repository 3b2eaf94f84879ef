package worker

import (
	"context"
	"math"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
)

const (
	// progressEvery is how often it is looked how far each partition is.
	progressEvery = time.Second
	// endsEvery is how often a broker is asked for the end of a partition that no
	// fetch tells of: it is paused, blocked, idle or stuck.
	endsEvery = 3 * time.Second
)

// progress is what is seen of a partition from second to second. It is kept by
// one goroutine; the partition has what others look at.
type progress struct {
	messages uint64
	at       time.Time // of messages; at first when the claim began
	measured bool      // there is a rate

	position int64
	still    time.Time // since when it stands at position with lag; zero: it does not
	told     bool      // that it stands still

	end     int64     // as seen last
	endAt   time.Time // when it was found to be current
	hollow  int64     // up to where it was looked whether there is anything to come
	waiting bool      // nothing was there to be processed, the last time
}

// watchProgress measures rates and lag and finds partitions that stand still,
// until ctx ends.
func (m *membership) watchProgress(ctx context.Context) {
	seen := map[*partition]*progress{}
	answers := make(chan struct{}, 1)
	answers <- struct{}{}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		before := seen
		seen = map[*partition]*progress{}
		var ask, look []*partition
		for _, p := range m.claims() {
			if !p.opened.Load() {
				continue
			}
			g := before[p]
			if g == nil {
				g = &progress{at: p.start, position: p.acks.processed.Load(), end: -1}
			}
			seen[p] = g
			m.look(p, g, now)
			if p.endOffset.Load() < 0 || now.Sub(g.endAt) >= endsEvery {
				ask = append(ask, p)
			}
			if g.waiting && g.hollow != g.end {
				look = append(look, p)
			}
		}
		if len(ask)+len(look) > 0 {
			select {
			case <-answers: // one question at a time, however long brokers take
				for _, p := range ask {
					seen[p].endAt = now
				}
				for _, p := range look {
					seen[p].hollow = seen[p].end
				}
				go func() {
					m.askEnds(ctx, ask)
					m.lookForHollows(ctx, look)
					answers <- struct{}{}
				}()
			default:
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// measure returns the rate of about the last three seconds, given the one so far. The
// first one is as measured: otherwise, all rates would begin at 0 after a rebalance.
func (g *progress) measure(rate float64, messages uint64, now time.Time) float64 {
	d := now.Sub(g.at)
	if d < progressEvery/2 {
		return rate // too short a time to tell
	}
	weight := 1.0
	if g.measured {
		weight = min(1, d.Seconds()/3)
	}
	rate += (float64(messages-g.messages)/d.Seconds() - rate) * weight
	g.messages, g.at, g.measured = messages, now, true
	if rate < 0.01 {
		return 0
	}
	return rate
}

// look brings g up to date.
func (m *membership) look(p *partition, g *progress, now time.Time) {
	rate := math.Float64frombits(p.rate.Load())
	p.rate.Store(math.Float64bits(g.measure(rate, p.messages.Load(), now)))
	position, end := p.acks.processed.Load(), p.endOffset.Load()
	idle, ordered := m.w.turns.rests(p)
	if t := p.inst.txn; t != nil && idle && p.shared.Load() {
		t.over(p)
	}
	if end != g.end {
		g.endAt = now // a fetch or a broker has told
	}
	g.waiting = idle && end == g.end && position == g.position && p.lag() > 0
	moved := position != g.position
	g.position, g.end = position, end
	if moved || ordered || p.lag() <= 0 {
		if g.told && !ordered {
			m.w.partLog(p).WithField("offset", position).Info("partition moves again")
		}
		g.told = false
		p.stalled.Store(false)
		g.still = time.Time{}
	}
	if ordered || p.lag() <= 0 {
		p.behind.Store(0)
		return
	}
	if g.still.IsZero() {
		g.still = now
		p.behind.Store(now.UnixMilli())
	}
	limit := m.w.cfg.StallTimeout
	if limit <= 0 || g.told || now.Sub(g.still) < limit {
		return
	}
	g.told = true
	p.stalled.Store(true)
	s := m.w.partitionReport(p)
	fields := logrus.Fields{"offset": position, "lag": s.Lag, "for": now.Sub(g.still).Round(time.Second).String(), "state": s.State}
	if why := s.Reason; why != "" {
		fields["reason"] = why
	}
	if s.LastError != "" {
		fields["error"] = s.LastError
	}
	m.w.partLog(p).WithFields(fields).Warn("partition stands still though messages wait (stall_timeout)")
}

// rests reports whether p has nothing to be processed and waits for a fetch to
// bring it, for which there is room; ordered, that it stands still because it was
// told to.
func (t *turns) rests(p *partition) (idle, ordered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ordered = p.operator || t.quiet || t.halted || p.retiring
	idle = !ordered && p.served.Load() && p.fetching && !t.throttled && !p.busy && p.queue.n == 0 && p.at == len(p.cur) && p.state == status.PartitionRunning
	return idle, ordered
}

// lag is how many offsets p is behind, -1 while that is not known.
func (p *partition) lag() int64 {
	end := p.endOffset.Load()
	if end < 0 {
		return -1
	}
	return max(0, end-p.over(p.acks.processed.Load()))
}

// askEnds asks brokers where these partitions end. An answer does not replace
// what a fetch has told meanwhile.
func (m *membership) askEnds(ctx context.Context, ps []*partition) {
	if len(ps) == 0 {
		return
	}
	keys := make([]kafka.TopicPartition, len(ps))
	before := make([]int64, len(ps))
	for i, p := range ps {
		keys[i] = kafka.TopicPartition{Topic: p.topic, Partition: p.partition}
		before[i] = p.endOffset.Load()
	}
	ends, err := m.client.Ends(ctx, keys)
	if err != nil && ctx.Err() == nil {
		m.log.WithError(err).Debug("asking for the ends of partitions")
	}
	for i, p := range ps {
		if end, ok := ends[keys[i]]; ok {
			p.endOffset.CompareAndSwap(before[i], end)
		}
	}
}

// lookForHollows finds out whether what seems to be lag is anything at all: the
// markers that end transactions take offsets, too, and no consumer sees them.
func (m *membership) lookForHollows(ctx context.Context, ps []*partition) {
	for _, p := range ps {
		from, end := p.acks.processed.Load(), p.endOffset.Load()
		if ctx.Err() != nil || from >= end {
			continue
		}
		hollow, err := m.client.OnlyControlRecords(kafka.TopicPartition{Topic: p.topic, Partition: p.partition}, from, end)
		if err != nil {
			m.log.WithError(err).Debug("looking for messages at the end of a partition")
		} else if hollow {
			t := p.inst.txn
			if t != nil {
				p.shared.Store(true) // before the commit loop can find it
			}
			p.hollow.Store(&stretch{from, end})
			if t != nil {
				t.over(p)
			}
		}
	}
}

// age is how old the next message to be processed is, 0 when it is not known to
// be there. Called with turns.mu held.
func (p *partition) age(now time.Time) time.Duration {
	var at time.Time
	switch {
	case p.busy:
		if ms := p.headAt.Load(); ms > 0 {
			at = time.UnixMilli(ms)
		}
	case p.at < len(p.cur):
		at = p.cur[p.at].Timestamp
	case len(p.queue.chunks) > 0:
		at = p.queue.chunks[0][0].Timestamp
	}
	if at.IsZero() || at.UnixMilli() <= 0 { // none there, or it says nothing: at least so old
		ms := p.behind.Load()
		if ms == 0 {
			return 0
		}
		at = time.UnixMilli(ms)
	}
	return max(0, now.Sub(at))
}
