package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
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
	slow := time.AfterFunc(commitTimeout, func() {
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
		if tr.over() || !sleep(t.ctx, backoff(tries)) {
			return err
		}
	}
}

// exclude takes the partitions whose offsets the group refuses for good out of tr and out
// of the transactions after it; they are set back. The others go on without them. False
// when there is none: the coordinator is only late to hear of a topic.
func (t *transactions) exclude(tr *transaction, refused *kafka.OffsetsRefusedError) bool {
	out := map[*partition]error{}
	byMember := map[*membership][]*partition{}
	for p := range tr.shares {
		byMember[p.m] = append(byMember[p.m], p)
	}
	for m, ps := range byMember {
		gone := m.deleted(refused.Partitions)
		for _, p := range ps {
			k := kafka.TopicPartition{Topic: p.topic, Partition: p.partition}
			err := refused.Partitions[k]
			switch {
			case err == nil, kafka.ClassifyCommit(err) == kafka.CommitUnknownTopic && !gone[k]:
			case errors.Is(err, sarama.ErrOffsetMetadataTooLarge) && tr.shares[p].commit.Metadata != "":
				m.noMetadata(p, err)
			default:
				out[p] = err
			}
		}
	}
	if len(out) == 0 {
		return false
	}
	t.mu.Lock()
	var aborted []abortedShare
	for _, one := range append(t.sealed[:len(t.sealed):len(t.sealed)], t.current) {
		if one == nil {
			continue
		}
		for p, s := range one.shares {
			if err := out[p]; err != nil {
				delete(one.shares, p)
				aborted = append(aborted, abortedShare{s.output, &abortion{err: &refusedError{err}}})
			}
		}
		t.discard(one, func(o *outMessage) bool { return out[o.p] != nil })
	}
	for p := range out {
		p.setBack = true
	}
	t.mu.Unlock()
	for _, e := range aborted {
		e.output.done(e.abortion)
	}
	t.notifySettled()
	return true
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
			return fmt.Errorf("%s: %w", part.tp, errLost)
		}
		s.commit.Offset, s.commit.Metadata = part.commitAt(s.next)
		s.commit.Epoch = kafka.Epoch(part.epoch.Load())
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

// over reports whether the session of one of tr's partitions has ended: what the
// coordinator refuses then is final.
func (tr *transaction) over() bool {
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
	t.w.scheduler.wakeExecutors()
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

// abortion is how a partition's share of a transaction ended that is aborted.
type abortion struct {
	err error
	// attributed: the transaction held one call alone, and its output was refused, so
	// this is the failure of that call.
	attributed  bool
	call        span
	deadLetters *deadLetters  // nil: none were in it
	refused     []*outMessage // the refused messages, if attributed
	// Calls from an offset up to another must be alone in their transactions, because
	// one of them caused the failure. Equal: none.
	aloneFrom, aloneTo int64
	pause              time.Duration
}

func (a *abortion) Error() string { return a.err.Error() }
func (a *abortion) Unwrap() error { return a.err }

// aborted deals with a transaction of which nothing is visible, now or ever: its
// partitions are set back, and with them what they have in later transactions.
// The others' part of those stays.
func (t *transactions) aborted(tr *transaction, err error) {
	tr.mu.Lock() // a delivery may still end, if time is up
	defer tr.mu.Unlock()
	t.mu.Lock()
	t.failures++
	aborted := t.attribute(tr, err)
	for _, later := range append(t.sealed[1:len(t.sealed):len(t.sealed)], t.current) {
		if later == nil {
			continue
		}
		for p, s := range later.shares {
			if tr.shares[p] != nil {
				delete(later.shares, p)
				aborted = append(aborted, abortedShare{s.output, &abortion{err: err}})
			}
		}
		t.discard(later, func(o *outMessage) bool { return o.p != nil && tr.shares[o.p] != nil })
	}
	for p := range tr.shares {
		p.setBack = true
	}
	noWay := refusedDelivery(err)
	lost := tr.lostBetween(err, t.ctx.Err() != nil)
	t.countFailed(tr, lost)
	t.discard(tr, func(o *outMessage) bool { return o.p != nil || slices.Contains(lost, o) })
	if noWay && len(tr.out) > 0 {
		t.seal() // what was produced between calls goes one by one then, beside nothing else
	}
	for _, o := range tr.out { // nobody would produce these again
		if t.addUnattributed(o); noWay {
			t.seal()
		}
	}
	t.next()
	t.mu.Unlock()
	t.report(tr, err, len(aborted) == 1 && aborted[0].abortion.attributed, lost)
	for _, e := range aborted {
		e.output.done(e.abortion)
	}
	t.notifySettled()
}

type abortedShare struct {
	output   *output
	abortion *abortion
}

// discard takes messages out of a transaction. t.mu is held.
func (t *transactions) discard(tr *transaction, which func(*outMessage) bool) {
	n := len(tr.out)
	tr.out = slices.DeleteFunc(tr.out, which)
	t.instanceProducer.gone(n - len(tr.out))
}

// countFailed counts the messages that were not delivered. What was dropped with its
// transaction is produced again by its call, and counts then.
func (t *transactions) countFailed(tr *transaction, lost []*outMessage) {
	failed := slices.Concat(tr.refused, tr.timedOut)
	for _, o := range lost {
		if !slices.Contains(failed, o) {
			failed = append(failed, o)
		}
	}
	failed = produced(failed)
	t.w.stats.Add(scoreboard.Produced, uint64(len(failed)))
	t.w.stats.Add(scoreboard.ProduceErrors, uint64(len(failed)))
}

// produced leaves out dead letters, which are counted as such and not as output.
func produced(out []*outMessage) []*outMessage {
	return slices.DeleteFunc(slices.Clone(out), func(o *outMessage) bool { return o.deadLetter != nil })
}

// lostBetween returns the output made between calls that is dropped, as a delivery
// that fails permanently is without transactions.
func (tr *transaction) lostBetween(err error, timeUp bool) (lost []*outMessage) {
	for _, o := range tr.out {
		if o.p == nil && (timeUp || slices.Contains(tr.timedOut, o) || refusedDelivery(err) && len(tr.out) == 1) {
			lost = append(lost, o)
		}
	}
	return lost
}

// attribute decides what the failure means for each partition. A batch is refused as a
// whole: to find the call that caused it, the calls are made again, each alone in its
// transaction. So are calls whose output could not be delivered while others' could, so
// that they do not hold up the others repeatedly. t.mu is held.
func (t *transactions) attribute(tr *transaction, err error) []abortedShare {
	refused := refusedDelivery(err)
	culprits := tr.refused
	if !refused && tr.stored > 0 {
		culprits = tr.timedOut
	}
	one := tr.calls == 1 && len(tr.shares) == 1
	var aborted []abortedShare
	for p, s := range tr.shares {
		a := &abortion{err: err, call: span{first: s.from, next: s.next, n: s.messages}, deadLetters: s.deadLetters, pause: t.pauseAfter(err)}
		aborted = append(aborted, abortedShare{s.output, a})
		alone := one && !slices.ContainsFunc(tr.out, func(o *outMessage) bool { return o.p != p })
		switch {
		case alone && refused:
			if a.attributed = true; len(culprits) > 0 {
				a.err, a.refused = culprits[0].err, culprits
			}
		case alone && len(tr.timedOut) > 0:
			a.pause = max(a.pause, pauseFor(&t.w.cfg, 1, func() float64 { return 0.5 }))
		case len(culprits) > 0:
			a.pause, a.aloneFrom = 0, math.MaxInt64
			for _, o := range culprits {
				if o.p == p {
					a.aloneFrom, a.aloneTo = min(a.aloneFrom, o.first), max(a.aloneTo, o.next)
				}
			}
		case refused: // by an unknown call
			a.pause, a.aloneFrom, a.aloneTo = 0, s.from, s.next
		}
	}
	return aborted
}

// pauseAfter is how long partitions wait before their messages are processed again.
// t.mu is held.
func (t *transactions) pauseAfter(err error) time.Duration {
	pause := min(retryFloor<<min(t.failures-1, 6), 5*time.Second)
	if e, ok := errors.AsType[*producer.TxnError](err); ok && e.Kind == producer.TxnFenced {
		// The new owner of the id may be the partition's new owner: wait until the
		// group reports it.
		pause = max(pause, 3*t.w.cfg.HeartbeatInterval)
	}
	return pause
}

// report reports a transaction that failed. A failure that is attributed to one call is
// reported when that call is handled.
func (t *transactions) report(tr *transaction, err error, blamed bool, lost []*outMessage) {
	for p := range tr.shares {
		if staleMember(err) && p.m.sessionEnded() {
			p.lose(err)
		}
	}
	log := t.w.log.WithError(err).WithField("messages", tr.messages)
	kind := producer.TxnKind(0)
	if e, ok := errors.AsType[*producer.TxnError](err); ok {
		kind = e.Kind
	}
	if len(lost) > 0 {
		log.WithField("lost", len(lost)).Error("output produced between calls is not delivered")
		t.instanceProducer.failed(err)
		t.w.onError(t.w.opts.base(), err, racecar.ErrorInfo{UnrecoverableDelivery: true})
	}
	switch {
	case t.ctx.Err() != nil:
		log.Warn("transaction abandoned: time is up")
	case kind == producer.TxnFatal:
		t.w.endForGood(err)
	case kind == producer.TxnUnknown:
		t.w.crash(err)
	case blamed, len(lost) > 0 && len(tr.shares) == 0:
	case staleMember(err), errors.Is(err, errLost):
		log.Warn("transaction aborted: a partition may belong to another member")
	case refusedDelivery(err):
		log.Warn("transaction aborted, its output was refused: its calls are made again, one in a transaction")
	default:
		log.Error("transaction aborted, its messages are processed again")
		for p, s := range tr.shares {
			t.w.problem(p.tp, s.from, err)
		}
		t.w.onError(t.w.opts.base(), err, racecar.ErrorInfo{Messages: tr.messages, UnrecoverableDelivery: true})
	}
	for _, o := range produced(slices.Concat(tr.refused, tr.timedOut)) {
		t.instanceProducer.reportOutcome(o.Topic, o.partition, -1, o.err)
	}
}

// endForGood ends the worker because of a failure that retries cannot fix.
func (w *worker) endForGood(err error) {
	if e, ok := errors.AsType[*producer.TxnError](err); ok {
		err = e.Err
	}
	if reason, _, permanent := access.Permanent(err); permanent {
		err = errors.New(reason)
	}
	w.fatal(err)
}

// transactionAborted deals with the abort of a transaction. p has been set back to
// where its share began; the executor owns it.
func (w *worker) transactionAborted(p *partition, failure error) {
	a, ok := errors.AsType[*abortion](failure)
	if !ok {
		a = &abortion{err: failure}
	}
	isDeadLetter := slices.ContainsFunc(a.refused, func(o *outMessage) bool { return o.deadLetter != nil })
	refused, isRefused := errors.AsType[*refusedError](a.err)
	switch {
	case isRefused:
		w.offsetRefused(p, refused)
	case a.attributed && isDeadLetter:
		a.deadLetters.refusedInTransaction(a.refused, a.err)
	case a.attributed:
		w.carryOut(p, a.call, decide(p.called(eventOutputRefused, a.err, a.call.n), p.retries(), &w.cfg), nil)
	default:
		if a.aloneFrom < a.aloneTo {
			if p.aloneTo <= a.aloneFrom || p.aloneFrom >= p.aloneTo {
				p.aloneFrom = a.aloneFrom
			}
			p.aloneFrom, p.aloneTo = min(p.aloneFrom, a.aloneFrom), max(p.aloneTo, a.aloneTo)
		}
		w.scheduler.change(func() { // a pause that is on goes on
			if until := w.scheduler.clock.now().Add(a.pause); until.After(p.until) {
				p.until = until
			}
		})
	}
}

// offsetRefused pauses a partition whose offset the group refuses for good: its messages
// are processed again in a while, in transactions with others'. The executor owns p.
func (w *worker) offsetRefused(p *partition, err *refusedError) {
	if text := err.Error(); text != p.refusedWith {
		p.refusedWith = text
		w.partLog(p).WithError(err.err).WithField("offset", p.acks.processed.Load()).
			Error("the group refuses the partition's offset for good: its messages wait, others go on without them")
		w.problem(p.tp, p.acks.processed.Load(), err)
	}
	w.pause(p, refusedEvery, err)
}

// takeTransactions makes (or returns the worker's one) what p's instance is to
// commit with, and takes its transactional id before the committed offset is read;
// nil for consumers without transactions, false when p is to go meanwhile.
func (m *membership) takeTransactions(p *partition, spare *instance) (*transactions, bool) {
	var t *transactions
	switch {
	case !m.w.transactional():
		return nil, true
	case m.w.serial != nil:
		t = m.w.serial.producer.txn
	case spare != nil:
		t = spare.txn
		t.name(m.w.partitionID(p))
	default:
		t = m.w.newTransactions(m.w.partitionID(p))
	}
	if m.takeID(p.untilLeaving(), t) {
		return t, true
	}
	if spare == nil {
		m.discard(t)
	}
	return nil, false
}

// discard closes the transactions of a partition that was never opened.
func (m *membership) discard(t *transactions) {
	if t == nil || m.w.serial != nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.w.time, time.Second)
	defer cancel()
	if err := t.close(ctx); err != nil {
		m.log.WithError(err).Debug("closing a transactional producer that was not used")
	}
}
