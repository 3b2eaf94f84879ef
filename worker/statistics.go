package worker

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/racecar"
)

// statistics calls OnStatistics of the instances that have it, every
// statistics_interval.
func (w *worker) statistics(ctx context.Context) {
	if w.cfg.StatisticsInterval <= 0 {
		return
	}
	last := &lastStatistics{takenAt: w.base, parts: map[*partition]uint64{}}
	for sleep(ctx, w.cfg.StatisticsInterval) {
		instances := map[*instance]racecar.StatisticsHook{}
		if w.serial != nil {
			if h, ok := w.serial.value.(racecar.StatisticsHook); ok {
				instances[w.serial] = h
			}
		}
		for _, p := range w.scheduler.all() {
			if h, ok := p.inst.value.(racecar.StatisticsHook); ok {
				instances[p.inst] = h
			}
		}
		if len(instances) == 0 {
			continue // what nobody asks for is not made
		}
		s := w.figures(last)
		for i := range instances {
			s.Producer.InFlight += i.producer.inFlight()
		}
		for i, h := range instances {
			i.hook("OnStatistics", func() error {
				h.OnStatistics(ctx, s)
				return nil
			})
		}
	}
}

// lastStatistics is what rates are counted from.
type lastStatistics struct {
	takenAt  time.Time
	messages uint64
	calls    uint64
	time     time.Duration
	parts    map[*partition]uint64
}

func (w *worker) figures(last *lastStatistics) racecar.Statistics {
	now := time.Now()
	seconds := now.Sub(last.takenAt).Seconds()
	rate := func(n, before uint64) float64 {
		if seconds <= 0 {
			return 0
		}
		return float64(n-before) / seconds
	}
	work := w.stats.Work()
	counts := work.Counters
	s := racecar.Statistics{
		At: now, Age: now.Sub(w.base), Messages: counts[status.CountMessages], Errors: counts[status.CountErrors],
		Producer: racecar.ProducerStatistics{
			Messages: counts[status.CountProduced], Acknowledged: counts[status.CountAcknowledged], Errors: counts[status.CountProduceErrors],
		},
	}
	s.Rate = rate(s.Messages, last.messages)
	n, total := uint64(0), time.Duration(work.Times.Sum*float64(time.Second))
	for _, c := range work.Times.Counts {
		n += c
	}
	if n > last.calls {
		s.CallTime = (total - last.time) / time.Duration(n-last.calls)
	}
	parts := map[*partition]uint64{}
	for _, p := range w.scheduler.all() {
		r := w.partitionReport(p)
		w.scheduler.mu.Lock()
		queued, bytes := p.buffered+p.taken, p.bufferedBytes
		w.scheduler.mu.Unlock()
		parts[p] = r.Processed
		s.Queued += queued
		s.QueuedBytes += bytes
		s.Partitions = append(s.Partitions, racecar.PartitionStatistics{
			Topic: r.Topic, Partition: r.Partition, Position: r.Position, Committed: r.Committed, End: r.End, Lag: r.Lag,
			Messages: r.Processed, Errors: r.Errors, Rate: rate(r.Processed, last.parts[p]),
			Queued: queued, Bytes: bytes, InFlight: int(p.acks.outstanding.Load()), State: string(r.State),
		})
	}
	if w.access != nil {
		if a, err := w.access(); err == nil { // else nobody connects
			for _, t := range a.Traffic() {
				s.Brokers = append(s.Brokers, racecar.BrokerStatistics(t))
			}
		}
	}
	*last = lastStatistics{takenAt: now, messages: s.Messages, calls: n, time: total, parts: parts}
	return s
}
