package worker

import (
	"context"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/kafka"
)

// commitPoint returns the next commit: the lowest unfinished offset, and in metadata what
// is finished beyond it, and how often messages have failed.
func (r *laneRunner) commitPoint() (offset int64, metadata string) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	r.t.mu.Lock()
	var m offsetmap.Metadata
	m.Offset, m.Finished, m.Failing = r.lanes.Commit()
	limit := r.limit
	r.t.mu.Unlock()
	if p.m.plain.Load() {
		return m.Offset, ""
	}
	m.LeaderEpoch, m.TopicID = kafka.LeaderEpoch(p.epoch.Load()).Leader(), offsetmap.TopicID(p.topicID[:4])
	m.Starts = p.unfinished.startsAt(m.Offset, r.t.clock.now())
	return m.Offset, m.Encode(limit)
}

// leastMetadata is how small the window becomes at most: with a broker that takes less,
// commits go without a map.
const leastMetadata = 1 << 10

// shrink has commits and the window use less metadata, of which the broker refused so much.
func (r *laneRunner) shrink(refused int, err error) {
	r.t.mu.Lock()
	first := r.limit == maxMetadata
	if r.limit = min(r.limit, refused) / 2; r.limit < 64 {
		r.limit = 0
	}
	r.lanes.Limit(max(r.limit, leastMetadata))
	r.t.mu.Unlock()
	if first {
		r.w.partLog(r.p).WithError(err).WithField("bytes", refused).
			Warn("the broker takes less metadata with an offset (offset.metadata.max.bytes): fewer messages beyond the committed offset can be remembered")
	}
}

// awaitSettled waits until the output of calls is acknowledged, or has failed; a partition
// that is lost waits for nothing.
func (r *laneRunner) awaitSettled(ctx context.Context) {
	for !r.p.lost() {
		due, waits := r.waitingFor()
		for _, task := range due {
			r.dealWith(task)
		}
		if len(due) > 0 {
			continue
		}
		if !waits {
			return
		}
		r.p.inst.delivery.sendOutput(r.p)
		select {
		case <-r.p.settled:
		case <-r.p.gone:
		case <-ctx.Done():
			return
		}
	}
}
