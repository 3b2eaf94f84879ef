package worker

import (
	"context"
	"errors"

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
