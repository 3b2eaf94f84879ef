package worker

import (
	"context"
	"errors"
	"time"

	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
)

// Offsets that were sent in a transaction are withheld until it has ended. So whoever takes
// over from a process that was killed takes the transactional id first, which ends its
// transaction; otherwise the partitions would wait for transaction.timeout.ms.

// takeID takes a transactional id, trying until ctx ends; false also when the
// worker ends because of it.
func (m *membership) takeID(ctx context.Context, t *transactions) bool {
	for n := 1; ; n++ {
		limited, cancel := context.WithTimeout(ctx, commitTimeout)
		err := t.take(limited)
		cancel()
		switch e, _ := errors.AsType[*producer.TxnError](err); {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case e != nil && e.Kind == producer.TxnFatal:
			m.w.endForGood(err)
			return false
		}
		if _, _, permanent := access.Permanent(err); permanent {
			m.w.endForGood(err)
			return false
		}
		m.failures.log(err, "taking the transactional id")
		if !sleep(ctx, backoff(n)) {
			return false
		}
	}
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
		t = m.w.serial.txn
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
