package worker

import (
	"context"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/worker/lanes"
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

// report fills in what the status shows of lanes. Called with scheduler.mu held.
func (r *laneRunner) report(s *status.Partition) {
	s.Beyond, s.InHand, s.InFlight = r.lanes.FinishedBeyond(), 0, r.unsettled
	for task := range r.calls {
		s.InHand += len(task.messages)
	}
	if m := r.lanes.First(); m != nil {
		s.Retries = m.Attempts
	}
	waiting, n := r.lanes.Waiting(status.MaxWaitingKeys)
	s.WaitingKeys = n
	for _, m := range waiting {
		s.OldestWaiting = append(s.OldestWaiting, waitingKey(m))
	}
	if m := r.lanes.Full(); m != nil {
		key := waitingKey(m)
		s.WindowFull = &key
	}
}

// logFull logs which message holds a window that is full, once for each. Only the goroutine
// that watches progress calls it.
func (r *laneRunner) logFull() {
	r.t.mu.Lock()
	m := r.lanes.Full()
	var key status.WaitingKey
	if m != nil {
		key = waitingKey(m)
	}
	r.t.mu.Unlock()
	if m == nil || r.fullLogged == key.Offset+1 {
		return
	}
	r.fullLogged = key.Offset + 1
	log := r.w.partLog(r.p).WithField("offset", key.Offset).WithField("key", key.Key).WithField("attempts", key.Attempts)
	if !key.Since.IsZero() {
		log = log.WithField("since", key.Since.UTC().Format(time.RFC3339))
	}
	log.Warn("window full: no further message begins before the one at the committed offset is finished")
}

func waitingKey(m *lanes.Message) status.WaitingKey {
	wait, waits := m.Wait()
	key := status.WaitingKey{Key: status.KeyText(m.Key()), Offset: m.Offset, Attempts: m.Attempts, Since: wait.Since}
	if waits && !wait.Until.IsZero() {
		key.Until = &wait.Until
	}
	return key
}

// assigned and revoked call the hooks of all instances that serve the partitions of the
// whole worker, with no order among the instances.
func (w *worker) assigned(a racecar.Assignment) {
	w.eachInstance(func(i *instance) { i.assigned(a) })
}

func (w *worker) revoked(a racecar.Assignment) {
	w.eachInstance(func(i *instance) { i.revoked(a) })
}

func (w *worker) eachInstance(f func(*instance)) {
	if w.serial == nil {
		return
	}
	if len(w.instances) == 0 {
		f(w.serial)
		return
	}
	var all sync.WaitGroup
	for _, i := range w.instances { // a long call of one must not delay the others
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// unattributed returns how much output each instance that p's calls run on has made
// between calls, or how much of it is acknowledged.
func (p *partition) unattributed(count func(*acks) int64) []int64 {
	if p.lanes == nil {
		return []int64{count(&p.inst.producer.unattributed)}
	}
	all := make([]int64, 0, len(p.m.w.instances))
	for _, i := range p.m.w.instances {
		all = append(all, count(&i.producer.unattributed))
	}
	return all
}

// lacksUnattributed reports whether some of that is not acknowledged.
func (p *partition) lacksUnattributed(made []int64) bool {
	for i, acknowledged := range p.unattributed((*acks).position) {
		if acknowledged < made[i] {
			return true
		}
	}
	return false
}
