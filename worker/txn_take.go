package worker

import (
	"context"
	"errors"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
)

// Offsets that were sent in a transaction are withheld until it has ended. sarama
// asks for them as soon as it has an assignment, before it begins a claim, and ends
// the session when it does not get them. So whoever takes over from a process that
// was killed ends its transaction before that, by taking the transactional id;
// otherwise all of a worker's partitions would wait for transaction.timeout.ms.

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
		m.trouble.say(err, "taking the transactional id")
		if !sleep(ctx, backoff(n)) {
			return false
		}
	}
}

// takeSlot takes the id of the worker's one instance before the first join: the
// process before us in this slot may have left a transaction open. False when the
// worker ends.
func (m *membership) takeSlot(ctx context.Context) bool {
	if !m.w.transactional() || m.w.serial == nil {
		return true
	}
	return m.takeID(ctx, m.w.serial.producer.txn)
}

// takePartitions ends what was left open under the ids of the partitions that we
// were assigned, after sarama did not get their offsets: with concurrency each
// has an id of its own, which is known only by then.
func (m *membership) takePartitions(ctx context.Context, generation int32) {
	if !m.w.transactional() || m.w.serial != nil {
		return
	}
	m.mu.Lock()
	latest := m.latest
	m.mu.Unlock()
	for _, k := range latest {
		if ctx.Err() != nil || m.generation.Load() != generation {
			return // somebody else may have them by now
		}
		key := kafka.TopicPartition{Topic: k.topic, Partition: k.partition}
		limited, cancel := context.WithTimeout(ctx, commitTimeout)
		if _, err := m.offsets.Fetch(limited, []kafka.TopicPartition{key}); errors.Is(err, sarama.ErrUnstableOffsetCommit) {
			t := m.w.newTransactions(producer.TransactionalIDForPartition(m.w.group, key))
			if err := t.take(limited); err != nil {
				m.trouble.say(err, "taking the transactional id")
			} else {
				m.log.WithField("topic", k.topic).WithField("partition", k.partition).Info("ended a transaction that was left open")
			}
			m.discard(t)
		}
		cancel()
	}
}
