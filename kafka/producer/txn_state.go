package producer

import (
	"errors"

	"github.com/IBM/sarama"
)

// transaction is the state of a Producer's current transaction, guarded by Producer.mu.
// It is nil for a producer without transactions.
type transaction struct {
	coordinator *txnCoordinator
	number      int  // counts transactions
	open        bool // between Begin and the end: messages are taken
	// sending is false while messages are held back: until Commit, or until they fill the
	// buffer. So transactions are open at the brokers for a short time, in which they
	// block readers of their partitions.
	sending bool
	touched bool  // the coordinator may know of it, and needs an EndTxn
	err     error // why it can only be aborted; nil: it can be committed
	wanted  []*partitionQueue
	parts   []*partitionQueue // registered with the coordinator
}

// refuses returns why messages are not accepted.
func (t *transaction) refuses() error {
	switch {
	case t == nil:
		return nil
	case t.err != nil:
		return txnError(t.err)
	case !t.open:
		return errNoTransaction
	}
	return nil
}

func (t *transaction) wantsPartitions() bool {
	return t != nil && t.err == nil && len(t.wanted) > 0
}

func (p *Producer) transactionalID() *string {
	if p.txn == nil {
		return nil
	}
	return &p.txn.coordinator.id
}

// admits reports whether q's messages may be sent: not while they are held back, and not
// before the coordinator has added q to the transaction. p.mu is held.
func (p *Producer) admits(q *partitionQueue) bool {
	t := p.txn
	switch {
	case t == nil:
		return true
	case !t.sending || t.err != nil:
		return false
	case !q.registered && !q.wanted:
		q.wanted = true
		t.wanted = append(t.wanted, q)
		signal(p.ask)
	}
	return q.registered
}

// startSending sends what is held back.
func (p *Producer) startSending() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.txn != nil {
		p.txn.sending = true
		signal(p.wake)
	}
}

// failTxn marks the current transaction as failed: it can only be aborted. p.mu is held.
func (p *Producer) failTxn(err error) {
	if p.txn != nil && p.txn.open && p.txn.err == nil {
		p.txn.err = err
		signal(p.wake)
	}
}

// dropFailed reports the queued messages of a failed transaction. It runs on the dispatch
// loop, as expire does.
func (p *Producer) dropFailed() {
	p.mu.Lock()
	if p.txn == nil || p.txn.err == nil {
		p.mu.Unlock()
		return
	}
	dropped := p.takeAll(DeliveryAborted)
	p.mu.Unlock()
	p.report(dropped)
}

// registerPartitions adds the partitions that wait for it to the transaction.
func (p *Producer) registerPartitions() error {
	p.mu.Lock()
	if !p.txn.wantsPartitions() {
		p.mu.Unlock()
		return nil
	}
	t := p.txn
	wanted := t.wanted
	t.wanted, t.touched = nil, true
	id, number := p.id, t.number
	p.mu.Unlock()
	err := t.coordinator.addPartitions(p.ctx, id, wanted)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range wanted {
		q.wanted = false
		if err == nil && t.number == number { // else it was aborted meanwhile
			q.registered = true
			t.parts = append(t.parts, q)
		}
	}
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		for _, q := range wanted { // they may be gone, which nothing else would tell
			p.requestTopic(q.topic)
		}
	}
	signal(p.wake) // to send them, or to want them again
	if err != nil && !retriable(err) {
		if t.number == number {
			p.failTxn(err)
		}
		return nil
	}
	return err
}
