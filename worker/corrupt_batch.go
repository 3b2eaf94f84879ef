package worker

import (
	"fmt"
	"slices"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// undecodable pauses a partition at a batch that cannot be decoded. All before it is
// processed. The executor owns p.
func (w *worker) undecodable(p *partition, c *fetch.CorruptError) {
	w.partLog(p).WithError(c).WithField("offset", c.First).WithField("last_offset", c.Next-1).Errorf(
		"a batch cannot be decoded, its partition is paused as poisoned: racecarctl resume %v retries it, with --skip-batch it goes on behind the batch", p.topicPartition)
	w.problem(p.topicPartition, c.First, c)
	w.emit(event.Poisoned{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Offset: c.First, Reason: oneLine(c)})
	w.scheduler.change(func() { w.scheduler.hold(p, heldBy{hold: holdCorrupt, reason: oneLine(c)}) })
	w.onError(w.opts.base(), c, racecar.ErrorInfo{
		Topic: p.topic, Partition: p.partition, FirstOffset: c.First, LastOffset: c.Next - 1, Messages: p.cursor.corruptMessages,
	})
}

// resumeDecoding has those partitions served again that stopped at a batch that cannot be
// decoded: it is fetched again, or with skip passed over.
func (w *worker) resumeDecoding(which []wire.Partition, skip bool) error {
	var wrong error
	w.scheduler.each(func(p *partition) {
		switch {
		case !slices.ContainsFunc(which, p.matches):
		case p.holds.has(holdCorrupt):
			p.skipBatch = skip
			w.scheduler.unhold(p, holdCorrupt)
		case skip:
			wrong = fmt.Errorf("%v has no batch that cannot be decoded: there is nothing to skip", p.topicPartition)
		}
	})
	return wrong
}

// matches reports whether an operator means p.
func (p *partition) matches(one wire.Partition) bool {
	return one.Topic == p.topic && (one.Partition < 0 || one.Partition == p.partition)
}

// leaveCorrupt goes on from a batch that cannot be decoded, as the operator said. The
// executor owns p, or nobody does any more.
func (w *worker) leaveCorrupt(p *partition) {
	w.scheduler.mu.Lock()
	skip := p.skipBatch
	p.skipBatch = false
	w.scheduler.mu.Unlock()
	c := p.cursor.corrupt
	if !skip {
		p.cursor.retry()
		return
	}
	n := p.cursor.corruptMessages
	w.partLog(p).WithError(c).WithField("offset", c.First).WithField("last_offset", c.Next-1).
		WithField("messages", n).Warn("batch skipped by an operator")
	w.stats.Add(scoreboard.Skipped, uint64(n))
	p.count(w.stats, uint64(n))
	p.cursor.skip()
	p.moveTo(c.Next)
	p.inst.delivery.commitAsync(p)
}
