package worker

import (
	"fmt"
	"slices"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// fetchControl is what a membership's client is bounded by and reports to.
type fetchControl struct {
	*budget
	m *membership
}

var _ kafka.FetchControl = fetchControl{}

// Fetched implements kafka.FetchControl.
func (c fetchControl) Fetched(k kafka.TopicPartition, f kafka.Fetched) {
	if p := c.m.part(tp{k.Topic, k.Partition}); p != nil {
		p.fetched(f)
	}
}

func (p *partition) fetched(f kafka.Fetched) {
	if f.Last >= 0 {
		p.visible.Store(f.Last)
	}
	p.more.Store(f.Next < f.End)
}

// Undecodable implements kafka.FetchControl: p is fetched no more, what came before the
// batch is processed, and then p waits for an operator. It is called by sarama.
func (c fetchControl) Undecodable(k kafka.TopicPartition, b kafka.BadBatch) (skip bool) {
	p := c.m.part(tp{k.Topic, k.Partition})
	if p == nil {
		return false // fetched before it was told to us, and again afterwards
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if b.First < p.skipTo {
		return true
	}
	if p.bad == nil {
		p.bad, p.fetching = &b, false
		go c.m.poisoned(p, b)
	}
	return false
}

// part returns the claim of a partition, nil when it is not ours.
func (m *membership) part(k tp) *partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.parts[k]
}

// poisoned reports that a batch of p cannot be decoded.
func (m *membership) poisoned(p *partition, b kafka.BadBatch) {
	w := m.w
	w.turns.tellSarama(p)
	err := undecodable(b)
	w.partLog(p).WithError(b.Err).WithField("offset", b.First).WithField("last_offset", b.Last).Errorf(
		"a batch cannot be decoded, its partition is paused as poisoned: racecarctl resume %v tries again, with --skip-batch it goes on behind the batch", p.tp)
	w.problem(p.tp, b.First, err)
	w.emit(event.Poisoned{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Offset: b.First, Reason: oneLine(err)})
	w.onError(w.opts.base(), err, racecar.ErrorInfo{
		Topic: p.topic, Partition: p.partition, FirstOffset: b.First, LastOffset: b.Last, Messages: int(b.Messages),
	})
}

func undecodable(b kafka.BadBatch) error {
	return fmt.Errorf("the batch of offsets %d to %d cannot be decoded: %w", b.First, b.Last, b.Err)
}

// resumeFetching has those fetched again that stopped at a batch that cannot be decoded.
// With skip they go on behind it.
func (w *worker) resumeFetching(which []wire.Partition, skip bool) error {
	var resumed []*partition
	var wrong error
	w.turns.each(func(p *partition) {
		switch {
		case !slices.ContainsFunc(which, p.is):
		case p.bad == nil && skip:
			wrong = fmt.Errorf("%v has no batch that cannot be decoded: there is nothing to skip", p.tp)
		case p.bad != nil:
			if skip {
				p.skipTo = p.bad.Last + 1
				w.stats.Add(scoreboard.Skipped, uint64(p.bad.Messages))
				p.count(w.stats, uint64(p.bad.Messages))
				w.partLog(p).WithError(p.bad.Err).WithField("offset", p.bad.First).WithField("last_offset", p.bad.Last).
					WithField("messages", p.bad.Messages).Warn("batch skipped by an operator")
			}
			p.bad = nil
			p.fetching = w.turns.low(p)
			resumed = append(resumed, p)
		}
	})
	w.turns.tell(resumed)
	return wrong
}

// is reports whether an operator means p.
func (p *partition) is(one wire.Partition) bool {
	return one.Topic == p.topic && (one.Partition < 0 || one.Partition == p.partition)
}

// skips reports whether p, which holds nothing, moves behind a batch that an operator
// skips: all messages before it have been processed. Called with turns.mu held.
func (p *partition) skips() bool {
	processed := p.acks.processed.Load()
	return p.skipTo > processed && max(p.last, processed-1) >= p.visible.Load()
}

// skipBatch does it. The executor owns p.
func (e *executor) skipBatch(p *partition) bool {
	e.t.mu.Lock()
	skips, to := p.at == len(p.cur) && p.queue.n == 0 && p.skips(), p.skipTo
	e.t.mu.Unlock()
	if !skips {
		return false
	}
	if p.inst.txn != nil {
		p.inst.txn.add(p, []*sarama.ConsumerMessage{{Topic: p.topic, Partition: p.partition, Offset: to - 1}})
	}
	p.acks.processed.Store(to)
	p.m.commits.soon(p)
	return true
}

// poison is the state of a partition that stopped at a batch. Called with turns.mu held.
func (p *partition) poison(s *status.Partition) {
	if p.bad != nil && s.State == status.PartitionRunning {
		s.State, s.Reason = status.PartitionPoisoned, oneLine(undecodable(*p.bad))
	}
}
