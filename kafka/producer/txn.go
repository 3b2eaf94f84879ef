package producer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// TxnOptions are the settings of a TxnProducer that are not in the configuration.
type TxnOptions struct {
	// Logger as in Options. Required.
	Logger logrus.FieldLogger
	// ID is the transactional id. It outlives processes: the replacement of a dead process
	// uses the same id, which aborts what that process left open. Two running producers
	// must never share an id. Required.
	ID string
	// BufferBytes as in Options. A transaction whose messages need more room starts at the
	// brokers before Commit.
	BufferBytes int64
	// Access as in Options.
	Access *access.Access
}

// TxnProducer makes a consumer's output and its offsets visible together or not at all
// (KIP-98, KIP-447): readers with isolation level read_committed see each message exactly
// once.
//
//	for each transaction:
//		Begin
//		Send … for the messages that were processed, dead letters included
//		SendOffsets with the offsets after them
//		Commit
//
// If one of these fails with a *TxnError of kind TxnAbortable or TxnFenced, call Abort and
// repeat the transaction's work from memory, if the partitions are still assigned: the
// group coordinator refuses offsets of a member that has left, so zombies commit nothing.
//
// The producer holds messages back until Commit (see TxnOptions.BufferBytes), so Process
// may take longer than a transaction may be open.
//
// Except for Send, call its methods from one goroutine. All waits end with their ctx. A
// TxnProducer sends nothing before Begin. Close must be called.
type TxnProducer struct {
	p       *Producer
	txn     *transaction
	timeout time.Duration // transaction.timeout.ms
	current producerID    // not valid: Begin has to take the id
	offsets map[groupMember]map[kafka.TopicPartition]kafka.Commit
}

// groupMember is whose offsets SendOffsets got.
type groupMember struct {
	group  string
	member kafka.Member
}

// NewTxnProducer makes a TxnProducer for c. It connects to nothing and starts no goroutine.
func NewTxnProducer(ctx context.Context, c *config.Config, o TxnOptions) (*TxnProducer, error) {
	if o.ID == "" {
		return nil, errors.New("a transactional producer needs a transactional id")
	}
	p, err := New(ctx, c, Options{Logger: o.Logger, BufferBytes: o.BufferBytes, Access: o.Access})
	if err != nil {
		return nil, err
	}
	if !p.conf.Producer.Idempotent || p.conf.Producer.RequiredAcks != sarama.WaitForAll {
		return nil, &access.ConfigError{Key: "producer", Problem: "a transactional consumer needs enable.idempotence=true and acks=all"}
	}
	t := &TxnProducer{p: p, timeout: p.conf.Producer.Transaction.Timeout, offsets: map[groupMember]map[kafka.TopicPartition]kafka.Commit{}}
	t.txn = &transaction{coordinator: newTxnCoordinator(p, o.ID)}
	p.txn = t.txn
	// After that the broker has aborted the transaction.
	p.timeout = min(p.timeout, t.timeout)
	return t, nil
}

// ID is the transactional id.
func (t *TxnProducer) ID() string { return t.txn.coordinator.id }

// InitTransactions acquires the transactional id, unless it is ours: it waits for the id's coordinator,
// and for the end of a transaction that a previous owner left open, until ctx ends. Begin
// calls it too. A replacement calls it before it reads the group's offsets, which an open
// transaction would withhold.
func (t *TxnProducer) InitTransactions(ctx context.Context) error {
	if t.current.valid {
		return nil
	}
	return t.init(ctx)
}

// Begin starts a transaction. The first one, and the first after TxnFenced, acquires the
// transactional id as Take does.
func (t *TxnProducer) Begin(ctx context.Context) error {
	if t.isOpen() {
		return errors.New("a transaction is open: Commit or Abort comes first")
	}
	if err := t.InitTransactions(ctx); err != nil {
		return err
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return &DeliveryError{Kind: DeliveryClosed, Partition: -1}
	}
	for _, q := range t.txn.parts {
		q.registered = false
	}
	for _, q := range t.txn.wanted { // nobody came to ask for them
		q.wanted = false
	}
	*t.txn = transaction{coordinator: t.txn.coordinator, number: t.txn.number + 1, open: true}
	clear(t.offsets)
	return nil
}

func (t *TxnProducer) isOpen() bool {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.txn.open
}

// init acquires the transactional id, or its next epoch if it is ours.
func (t *TxnProducer) init(ctx context.Context) error {
	next, err := t.txn.coordinator.init(ctx, t.current, t.timeout)
	if err != nil {
		return txnError(err)
	}
	t.current = next
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.id = next
	for _, topic := range p.topics {
		for _, q := range topic.parts {
			q.producer.valid = false // begins a new sequence
		}
	}
	return nil
}

// Check returns the *DeliveryError with which Send would reject a message (too large, no
// topic). It is safe for concurrent use.
func (t *TxnProducer) Check(m Message) error {
	return t.p.check(&m, recordSize(&m))
}

// Send queues a message of the transaction; done may be nil. done is called when the
// message is stored, before it is visible, or with an error; that makes Commit fail. See
// Producer.Send.
func (t *TxnProducer) Send(ctx context.Context, m Message, done Done) error {
	return t.p.Send(ctx, m, done)
}

// SendOffsets adds a group's positions to the transaction; they replace the same member's
// earlier ones. m is the member that has the partitions; the coordinator refuses the
// offsets if it no longer has (KIP-447).
func (t *TxnProducer) SendOffsets(group string, m kafka.Member, offsets map[kafka.TopicPartition]kafka.Commit) error {
	if !t.isOpen() {
		return errNoTransaction
	}
	of := groupMember{group, m}
	if t.offsets[of] == nil {
		t.offsets[of] = make(map[kafka.TopicPartition]kafka.Commit, len(offsets))
	}
	maps.Copy(t.offsets[of], offsets)
	return nil
}

// Commit waits until everything is stored and commits the transaction, until ctx ends.
// After a TxnError call Abort, or Close if its kind is TxnUnknown or TxnFatal.
func (t *TxnProducer) Commit(ctx context.Context) error {
	if !t.isOpen() {
		return errNoTransaction
	}
	t.p.startSending()
	if err := t.p.Flush(ctx); err != nil {
		return t.fail(err)
	}
	t.p.mu.Lock()
	err, touched := t.txn.err, t.txn.touched
	if len(t.offsets) > 0 {
		t.txn.touched = true
	}
	t.p.mu.Unlock()
	if err != nil {
		return txnError(err)
	}
	for of, offsets := range t.offsets {
		touched = true
		if err := t.txn.coordinator.addOffsets(ctx, t.current, of.group, of.member, offsets); err != nil {
			return t.fail(err)
		}
	}
	if touched {
		if err := t.txn.coordinator.endTxn(ctx, t.current, true); err != nil {
			if ctx.Err() != nil || t.p.ctx.Err() != nil || !notCommitted(err) {
				err = &TxnError{Kind: TxnUnknown, Err: err}
			}
			return t.fail(err)
		}
	}
	t.over()
	return nil
}

// fail marks the transaction as failed: it can only be aborted.
func (t *TxnProducer) fail(err error) error {
	err = txnError(err)
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.failTxn(err)
	return err
}

func (t *TxnProducer) over() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.txn.open = false
}

// Abort aborts the transaction, if there is one: its messages are never visible, and its
// offsets are not committed. It can be called again if it fails because ctx ended.
func (t *TxnProducer) Abort(ctx context.Context) error {
	if !t.isOpen() {
		return nil
	}
	t.p.mu.Lock()
	t.p.failTxn(errors.New("aborted by its owner"))
	cause, touched := t.txn.err, t.txn.touched
	t.p.mu.Unlock()
	if err := t.p.Flush(ctx); err != nil { // the queues are dropped: only what is in flight takes time
		return fmt.Errorf("abort the transaction: %w", err)
	}
	if touched && txnKind(cause) != TxnFenced {
		if err := t.endAborted(ctx); err != nil {
			return err
		}
	} else if txnKind(cause) == TxnFenced {
		t.current.valid = false
	}
	t.over()
	return nil
}

// endAborted ends the transaction at its coordinator and takes the next epoch:
// records that failed leave gaps in the sequences of this one.
func (t *TxnProducer) endAborted(ctx context.Context) error {
	err := t.txn.coordinator.endTxn(ctx, t.current, false)
	if err == nil || errors.Is(err, sarama.ErrInvalidTxnState) { // the coordinator never heard of it
		err = t.init(ctx)
	}
	if err != nil && txnKind(err) == TxnFenced { // it is aborted already
		t.current.valid = false
		return nil
	}
	return err
}

// Close aborts the current transaction and closes the producer, within ctx. See
// Producer.Close.
func (t *TxnProducer) Close(ctx context.Context) error {
	aborted := t.Abort(ctx)
	closed := t.p.Close(ctx)
	t.txn.coordinator.close()
	return errors.Join(aborted, closed)
}
