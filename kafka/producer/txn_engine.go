package producer

import (
	"errors"

	"github.com/IBM/sarama"
)

// transaction is what a Producer knows of the transaction under way. It is
// guarded by Producer.mu. The methods of nil are those of a producer without
// transactions.
type transaction struct {
	coordinator *txnCoordinator
	number      int  // counts transactions
	open        bool // between Begin and the end: messages are taken
	// sending is false as long as messages are held back. They are until Commit,
	// or until they take up the room, so that a transaction that is open at the
	// brokers is short: it holds up whoever reads its partitions, and runs out of
	// transaction.timeout.ms.
	sending bool
	touched bool  // the coordinator may know of it, and is to be told of its end
	err     error // why it can only be aborted; nil: it can be committed
	wanted  []*outPartition
	parts   []*outPartition // registered with the coordinator
}

// refuses says why no message is taken.
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

// admits reports whether q's messages may go: not while they are held back, and
// not before the coordinator has q in the transaction. p.mu is held.
func (p *Producer) admits(q *outPartition) bool {
	t := p.txn
	switch {
	case t == nil:
		return true
	case !t.sending || t.err != nil:
		return false
	case !q.registered && !q.wanted:
		q.wanted = true
		t.wanted = append(t.wanted, q)
		poke(p.ask)
	}
	return q.registered
}

// release lets go what is held back.
func (p *Producer) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.txn != nil {
		p.txn.sending = true
		poke(p.wake)
	}
}

// doom makes the transaction under way one that can only be aborted. p.mu is held.
func (p *Producer) doom(err error) {
	if p.txn != nil && p.txn.open && p.txn.err == nil {
		p.txn.err = err
		poke(p.wake)
	}
}

// dropDoomed reports what is not to be sent any more. It runs on the dispatch
// loop, as expire does.
func (p *Producer) dropDoomed() {
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
			p.wantTopic(q.topic)
		}
	}
	poke(p.wake) // to send them, or to want them again
	if err != nil && !passes(err) {
		if t.number == number {
			p.doom(err)
		}
		return nil
	}
	return err
}
