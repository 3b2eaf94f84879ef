package worker

import (
	"errors"
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

// abortCause is how a partition's share of a transaction ended that is aborted.
type abortCause struct {
	err error
	// attributed: the transaction held one call alone, and its output was refused, so
	// this is the failure of that call.
	attributed  bool
	call        span
	deadLetters *deadLetters  // nil: none were in it
	refused     []*outMessage // the refused messages, if attributed
	// Calls from an offset up to another must be alone in their transactions, because
	// one of them caused the failure. Equal: none.
	isolatedFrom, isolatedTo int64
	pause                    time.Duration
}

func (a *abortCause) Error() string { return a.err.Error() }

func (a *abortCause) Unwrap() error { return a.err }

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
				aborted = append(aborted, abortedShare{s.output, &abortCause{err: &refusedError{err}}})
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
				aborted = append(aborted, abortedShare{s.output, &abortCause{err: err}})
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
	abortion *abortCause
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
		a := &abortCause{err: err, call: span{first: s.from, next: s.next, n: s.messages}, deadLetters: s.deadLetters, pause: t.pauseAfter(err)}
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
			a.pause, a.isolatedFrom = 0, math.MaxInt64
			for _, o := range culprits {
				if o.p == p {
					a.isolatedFrom, a.isolatedTo = min(a.isolatedFrom, o.first), max(a.isolatedTo, o.next)
				}
			}
		case refused: // by an unknown call
			a.pause, a.isolatedFrom, a.isolatedTo = 0, s.from, s.next
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
	kind := producer.TxnErrorKind(0)
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
			t.w.problem(p.topicPartition, s.from, err)
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
	a, ok := errors.AsType[*abortCause](failure)
	if !ok {
		a = &abortCause{err: failure}
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
		if a.isolatedFrom < a.isolatedTo {
			if p.isolatedTo <= a.isolatedFrom || p.isolatedFrom >= p.isolatedTo {
				p.isolatedFrom = a.isolatedFrom
			}
			p.isolatedFrom, p.isolatedTo = min(p.isolatedFrom, a.isolatedFrom), max(p.isolatedTo, a.isolatedTo)
		}
		w.scheduler.change(func() { // a pause that is on goes on
			until := w.scheduler.clock.now().Add(a.pause)
			if a.pause > 0 && !slices.ContainsFunc(p.holds, func(h heldBy) bool { return h.hold == holdBackoff && h.until.After(until) }) {
				w.scheduler.hold(p, heldBy{hold: holdBackoff, reason: oneLine(a.err), until: until})
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
		w.problem(p.topicPartition, p.acks.processed.Load(), err)
	}
	w.pause(p, holdBackoff, refusedEvery, err)
}
