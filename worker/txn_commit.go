package worker

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
)

// run commits what is sealed and ends when there is nothing left.
func (t *transactions) run() {
	defer t.wg.Done()
	for {
		t.mu.Lock()
		if len(t.sealed) == 0 {
			t.running = false
			t.mu.Unlock()
			return
		}
		tr := t.sealed[0]
		t.mu.Unlock()
		if err := t.commit(tr); err != nil {
			t.aborted(tr, err)
		} else {
			t.committed(tr)
		}
	}
}

// commit commits tr, or aborts it and says why. A refusal in the midst of a
// rebalance is no reason to process anything again: the new generation is about to
// arrive.
func (t *transactions) commit(tr *transaction) error {
	t.own.Lock()
	defer t.own.Unlock()
	slow := t.w.scheduler.clock.after(commitTimeout, func() {
		t.w.log.WithField("transactional_id", t.id).WithField("messages", tr.messages).
			Warn("a transaction takes long: brokers or its coordinator do not answer")
	})
	defer slow.Stop()
	p, err := t.producer()
	if err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		tr.forget()
		err := t.attempt(p, tr)
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*producer.TxnError](err); ok && (e.Kind == producer.TxnFatal || e.Kind == producer.TxnUnknown) {
			return err // it cannot be aborted: the producer has to be closed
		}
		if aerr := p.Abort(t.ctx); aerr != nil {
			return errors.Join(err, aerr)
		}
		if refused, ok := errors.AsType[*kafka.OffsetsRefusedError](err); ok {
			if t.exclude(tr, refused) {
				tries = 0 // another transaction
				continue
			}
		} else if !staleMember(err) {
			return err
		}
		if tr.sessionEnded() || !sleep(t.ctx, backoff(tries)) {
			return err
		}
	}
}

// attempt makes one transaction of tr.
func (t *transactions) attempt(p *producer.TxnProducer, tr *transaction) error {
	type key struct {
		m      *membership
		member kafka.Member
	}
	commits := map[key]map[kafka.TopicPartition]kafka.Commit{}
	for part, s := range tr.shares {
		// In this order: a partition that is ours afterwards was ours in that generation. For
		// a revoked one, a later generation would commit over its next owner.
		member, ok := part.m.member()
		if !ok || part.lost() || !part.m.has(part) {
			return fmt.Errorf("%s: %w", part.topicPartition, errLost)
		}
		s.commit.Offset, s.commit.Metadata = part.commitAt(s.next)
		s.commit.Epoch = kafka.LeaderEpoch(part.epoch.Load())
		k := key{part.m, member}
		if commits[k] == nil {
			commits[k] = map[kafka.TopicPartition]kafka.Commit{}
		}
		commits[k][kafka.TopicPartition{Topic: part.topic, Partition: part.partition}] = s.commit
	}
	if err := p.Begin(t.ctx); err != nil {
		return err
	}
	t.taken.Store(true)
	for _, o := range tr.out {
		if err := p.Send(t.ctx, o.Message, func(partition int32, offset int64, err error) { tr.result(o, partition, offset, err) }); err != nil {
			tr.result(o, -1, -1, err)
			return err
		}
	}
	for k, c := range commits {
		if err := p.SendOffsets(t.w.group, k.member, c); err != nil {
			return err
		}
	}
	return p.Commit(t.ctx)
}

// result notes what became of a message.
func (tr *transaction) result(o *outMessage, partition int32, offset int64, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	o.partition, o.offset, o.err = partition, offset, err
	d, _ := errors.AsType[*producer.DeliveryError](err)
	switch {
	case err == nil:
		tr.stored++
	case refusedDelivery(err):
		tr.refused = append(tr.refused, o)
	case d != nil && (d.Kind == producer.DeliveryTimedOut || d.Kind == producer.DeliveryFailed):
		tr.timedOut = append(tr.timedOut, o)
	}
}

// forget is for another attempt.
func (tr *transaction) forget() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.refused, tr.timedOut, tr.stored = nil, nil, 0
}

// refusedDelivery reports whether a failure is due to a message that no broker
// takes.
func refusedDelivery(err error) bool {
	if e, ok := errors.AsType[*producer.TxnError](err); ok {
		return e.Refused()
	}
	d, ok := errors.AsType[*producer.DeliveryError](err)
	return ok && d.Refused()
}

// staleMember reports whether the group coordinator refused offsets because the
// generation or the member is none of its group's.
func staleMember(err error) bool {
	for _, e := range []error{sarama.ErrIllegalGeneration, sarama.ErrUnknownMemberId, sarama.ErrFencedInstancedId, sarama.ErrRebalanceInProgress} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sessionEnded reports whether the session of one of tr's partitions has ended: what the
// coordinator refuses then is final.
func (tr *transaction) sessionEnded() bool {
	for p := range tr.shares {
		if p.lost() || p.m.sessionEnded() {
			return true
		}
	}
	return false
}

// committed deals with a transaction that is visible.
func (t *transactions) committed(tr *transaction) {
	t.mu.Lock()
	t.failures = 0
	t.next()
	t.mu.Unlock()
	for p, s := range tr.shares {
		p.confirm(s.commit.Offset, s.commit.Metadata)
		s.output.done(nil)
		t.w.stats.Add(scoreboard.Commits, 1)
	}
	t.instanceProducer.gone(len(tr.out))
	out := produced(tr.out)
	t.w.stats.Add(scoreboard.Produced, uint64(len(out))) // before, they might be dropped without having been sent
	t.w.stats.Add(scoreboard.Acknowledged, uint64(len(out)))
	for _, o := range out {
		t.instanceProducer.reportOutcome(o.Topic, o.partition, o.offset, nil)
	}
	for _, s := range tr.shares {
		if s.deadLetters != nil {
			s.deadLetters.report()
		}
	}
	t.notifySettled()
}

// notifySettled wakes all that wait for the end of a transaction.
func (t *transactions) notifySettled() {
	t.mu.Lock()
	close(t.settled)
	t.settled = make(chan struct{})
	t.mu.Unlock()
	t.w.scheduler.updateAll(t)
}

// next takes the head of the sealed ones off. t.mu is held.
func (t *transactions) next() {
	t.sealed[0] = nil
	t.sealed = t.sealed[1:]
	t.full.Store(len(t.sealed) >= maxSealed)
	if len(t.sealed) == 0 && t.current != nil && t.current.due {
		t.seal()
	}
}
