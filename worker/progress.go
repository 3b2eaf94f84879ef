package worker

import (
	"context"
	"math"
	"time"

	"github.com/sirupsen/logrus"
)

// progressEvery is how often it is checked how far each partition is.
const progressEvery = time.Second

// progress is what watchProgress measures of a partition each second. It belongs to one
// goroutine; others read the results from the partition.
type progress struct {
	messages   uint64
	measuredAt time.Time // of messages; at first when the claim began
	measured   bool      // there is a rate

	position int64
	still    time.Time // since when it stands at position with lag; zero: it does not
	reported bool      // that it stands still
}

// watchProgress measures rates and finds partitions that stand still, until ctx ends.
func (m *membership) watchProgress(ctx context.Context) {
	seen := map[*partition]*progress{}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		before := seen
		seen = map[*partition]*progress{}
		for _, p := range m.claims() {
			if !p.opened.Load() {
				continue
			}
			g := before[p]
			if g == nil {
				g = &progress{measuredAt: p.start, position: p.acks.processed.Load()}
			}
			seen[p] = g
			m.observe(p, g, m.w.scheduler.clock.now())
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
	d := now.Sub(g.measuredAt)
	if d < progressEvery/2 {
		return rate // too short a time to measure
	}
	weight := 1.0
	if g.measured {
		weight = min(1, d.Seconds()/3)
	}
	rate += (float64(messages-g.messages)/d.Seconds() - rate) * weight
	g.messages, g.measuredAt, g.measured = messages, now, true
	if rate < 0.01 {
		return 0
	}
	return rate
}

// observe brings g up to date.
func (m *membership) observe(p *partition, g *progress, now time.Time) {
	rate := math.Float64frombits(p.rate.Load())
	p.rate.Store(math.Float64bits(g.measure(rate, p.messages.Load(), now)))
	position, lag := p.acks.processed.Load(), p.lag()
	idle, ordered := m.w.scheduler.isIdle(p)
	if idle {
		p.inst.delivery.commitIdle(p)
	}
	mark := position
	if p.lanes != nil {
		p.lanes.logFull()
		mark += int64(p.messages.Load()) // the oldest message alone may stand still
	}
	moved := mark != g.position
	g.position = mark
	if moved || ordered || lag <= 0 {
		if g.reported && !ordered {
			m.w.partLog(p).WithField("offset", position).Info("partition moves again")
		}
		g.reported = false
		p.stalled.Store(false)
		g.still = time.Time{}
	}
	if lag <= 0 {
		p.behind.Store(0)
	} else if moved || p.behind.Load() == 0 {
		p.behind.Store(now.UnixMilli())
	}
	if ordered || lag <= 0 {
		return
	}
	if g.still.IsZero() {
		g.still = now
	}
	limit := m.w.cfg.StallTimeout
	if limit <= 0 || g.reported || now.Sub(g.still) < limit {
		return
	}
	g.reported = true
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

// isIdle reports whether p has no messages and waits for more; ordered, that it stands
// still because of a command.
func (t *scheduler) isIdle(p *partition) (idle, ordered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ordered = len(t.holds) > 0 || p.holds.has(holdOperator, holdLeaving)
	if ordered || p.busy || p.buffered > 0 || !p.firstCommitted.Load() || len(p.holds) > 0 {
		return false, ordered
	}
	_, pending := p.cursor.waiting()
	idle = !pending
	return idle, ordered
}

// endOffset is the end offset of p, -1 while it is not known.
func (p *partition) endOffset() int64 {
	source := p.source.Load()
	if source == nil {
		return -1
	}
	_, stable, high := (*source).Watermarks()
	return max(stable, high) // while it is not fetched only one of them is asked for
}

// lag is how many offsets p is behind, -1 while that is not known.
func (p *partition) lag() int64 {
	end := p.endOffset()
	if end < 0 {
		return -1
	}
	return max(0, end-p.acks.processed.Load()-p.beyond.Load())
}

// age is how old the next message to be processed is, 0 when it is not known to
// be there. Called with scheduler.mu held.
func (p *partition) age(now time.Time) time.Duration {
	var at time.Time
	switch {
	case p.busy, p.lanes != nil:
		if ms := p.headAt.Load(); ms > 0 {
			at = time.UnixMilli(ms)
		}
	case p.cursor.index < len(p.cursor.chunk):
		at = p.cursor.chunk[p.cursor.index].Timestamp
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
