package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

// transactions makes what an instance's calls produce and the offsets of their
// messages visible together (Spec.Transactional). There is one for each instance;
// other consumers have none.
//
// What a call produces is held here until the call has returned nil, so that
// nothing of a failed one can become visible. Then it joins the transaction that
// is gathered, with the offset after its messages. A transaction is sealed when it
// is full or old enough, or when somebody waits, and sealed ones are committed one
// after the other by a goroutine, while calls go on (txn_commit.go, txn_abort.go).
//
// To a partition's acks its share of a transaction is one delivery that begins
// with its first message and ends with the transaction. So the position stays
// where it was, messages are kept, and an abort sets the partition back, all by
// the same means as without transactions. The commit loop leaves the partition
// alone once its first position is committed.
type transactions struct {
	w                *worker
	instanceProducer *instanceProducer                     // of the instance
	id               string                                // transactional id
	producer         func() (*producer.TxnProducer, error) // made at the first use
	ctx              context.Context                       // ends with close, or when the worker's time is up
	cancel           context.CancelFunc

	own   locks.Mutex[locks.TransactionOwner] // held by who uses the producer
	taken atomic.Bool                         // the id is ours
	wg    sync.WaitGroup                      // the goroutine that commits

	// full says that no call may begin: as much waits to be committed as may.
	full atomic.Bool

	// mu is taken before acks.mu; after none but an instance's.
	mu        locks.Mutex[locks.Transactions]
	inQuantum bool          // a quantum is running: output belongs to a call
	call      []*outMessage // what the running call has produced
	current   *transaction  // being gathered; nil: none
	sealed    []*transaction
	running   bool          // the goroutine that commits is there
	settled   chan struct{} // closed when a transaction has ended, and replaced
	failures  int           // transactions that failed in a row
}

// transaction is a set of calls that are committed together. transactions.mu
// guards it until it is at the head of sealed: then the goroutine that commits
// has it.
type transaction struct {
	timer    stopper // seals it
	due      bool    // it would be sealed, were there none before it
	messages int
	calls    int
	bytes    int
	out      []*outMessage
	shares   map[*partition]*share

	mu       sync.Mutex    // guards what becomes of out
	refused  []*outMessage // which no broker takes, or which were in a batch with such a one
	timedOut []*outMessage // which could not be delivered in their time
	stored   int           // how many were stored, visible or not
}

// share is a partition's part in a transaction.
type share struct {
	output      *output
	from        int64 // the position it began with
	next        int64 // the position to be committed
	messages    int
	deadLetters *deadLetters // nil: none are in it

	commit kafka.Commit // what was committed for next
}

// outMessage is a message that was produced.
type outMessage struct {
	producer.Message
	size        int
	p           *partition  // nil: produced between calls
	first, next int64       // offsets of the call that produced it: from first on, below next
	deadLetter  *deadLetter // nil: consumer code produced it

	partition int32 // where it is stored
	offset    int64
	err       error
}

// messageOverhead is what a message takes in memory beside its bytes.
const messageOverhead = 256

// Bounds of what is gathered besides transaction_messages.
const (
	// maxTransactionBytes ends a transaction early, so that consumers with large
	// outputs do not hold a thousand of them.
	maxTransactionBytes = 8 << 20
	// maxSealed transactions are committed or wait for it before nothing more is
	// begun: one at the brokers, and one that is next.
	maxSealed = 2
)

// transactional reports whether the consumer is registered so.
func (w *worker) transactional() bool { return w.reg.Spec().Transactional }

// newTransactions makes the transactions of one instance. It starts nothing; close
// must be called.
func (w *worker) newTransactions(id string) *transactions {
	t := &transactions{w: w, id: id, settled: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(w.time)
	t.producer = firstSuccess(func() (*producer.TxnProducer, error) {
		access, err := w.access()
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		id := t.id
		t.mu.Unlock()
		return producer.NewTxnProducer(context.Background(), &w.cfg, producer.TxnOptions{Logger: w.log, ID: id, Access: access})
	})
	return t
}

// name gives an instance that was made before it had a partition that partition's id.
func (t *transactions) name(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id = id
}

// unnamed reports whether the instance has no partition yet.
func (t *transactions) unnamed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id == ""
}

// errUnnamed refuses output that no transaction could hold.
var errUnnamed = errors.New("a transactional consumer with concurrency cannot produce in its constructor: its transactions begin with a partition")

// partitionID is the transactional id of a partition that has an instance of its own.
func (w *worker) partitionID(p *partition) string {
	return producer.TransactionalIDForPartition(w.group, kafka.TopicPartition{Topic: p.topic, Partition: p.partition})
}

// firstTransactionalID is that of the first instance. With concurrency it belongs to
// the partition, which is not known yet.
func (w *worker) firstTransactionalID() string {
	if w.cfg.Concurrency > 1 {
		return ""
	}
	return w.transactionalID()
}

// transactionalID is that of the worker's one instance: its slot's, which the
// process that replaces this one has as well.
func (w *worker) transactionalID() string {
	nonce := w.opts.Handshake.Nonce
	if nonce == "" { // nobody restarts us
		nonce = rand.Text()
	}
	return producer.TransactionalIDForWorker(w.group, slotID(w.cfg.ClientID, nonce, w.reg.Name(), w.index, 0))
}

// take takes the transactional id, which ends what a process before us left open.
func (t *transactions) take(ctx context.Context) error {
	if t.taken.Load() {
		return nil
	}
	t.own.Lock()
	defer t.own.Unlock()
	p, err := t.producer()
	if err != nil {
		return err
	}
	if err := p.InitTransactions(ctx); err != nil {
		return err
	}
	t.taken.Store(true)
	return nil
}

func (t *transactions) produce(ctx context.Context, m racecar.ProducerMessage) error {
	out := outgoing(m).Clone() // it is held until the call has returned
	err := t.queue(ctx, out)
	t.instanceProducer.reportQueued(&out, err)
	return err
}

// queue takes a message in. ctx bounds the wait for room, which there is only
// between calls: a call's output is held whole.
func (t *transactions) queue(ctx context.Context, m producer.Message) error {
	if t.unnamed() {
		return errUnnamed
	}
	p, err := t.producer()
	if err != nil {
		return err
	}
	o := &outMessage{Message: m, size: len(m.Key) + len(m.Value) + messageOverhead}
	if err := p.Check(o.Message); err != nil {
		return err
	}
	if o.Timestamp.IsZero() {
		o.Timestamp = time.Now()
	}
	t.instanceProducer.queued(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		t.instanceProducer.gone(1)
		return &producer.DeliveryError{Kind: producer.DeliveryClosed, Topic: m.Topic, Partition: -1}
	}
	for !t.inQuantum && t.full.Load() {
		settled := t.settled
		t.mu.Unlock()
		select {
		case <-settled:
			t.mu.Lock()
		case <-t.ctx.Done():
			t.mu.Lock()
			t.instanceProducer.gone(1)
			return fmt.Errorf("no room to produce: %w", context.Cause(t.ctx))
		case <-ctx.Done():
			t.mu.Lock()
			t.instanceProducer.gone(1)
			return fmt.Errorf("no room to produce: transactions wait to be committed: %w", context.Cause(ctx))
		}
	}
	if t.inQuantum {
		t.call = append(t.call, o)
	} else {
		t.addUnattributed(o)
	}
	return nil
}

// addUnattributed puts a message of no call into the transaction that is gathered. Called
// with t.mu held, as are the other lower ones below.
func (t *transactions) addUnattributed(o *outMessage) {
	tr := t.gather()
	tr.out = append(tr.out, o)
	if tr.bytes += o.size; tr.bytes >= maxTransactionBytes {
		t.seal()
	}
}

func (t *transactions) enter(*partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inQuantum = true
}

func (t *transactions) exit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inQuantum = false
	for _, o := range t.call { // by a goroutine that a call left behind
		t.addUnattributed(o)
	}
	t.call = nil
}

// takeOutput returns what the call that has just ended produced: it joins no transaction
// by itself any more.
func (t *transactions) takeOutput() []*outMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	call := t.call
	t.call = nil
	return call
}

// add puts a call that p is done with, and what it produced, into the transaction. The
// executor owns p and has not moved its position yet.
func (t *transactions) add(p *partition, call span, out []*outMessage) (full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.join(p, call, out)
	return p.isolated || t.full.Load()
}

// join is add; nil when p will be set back and process these
// messages again.
func (t *transactions) join(p *partition, call span, out []*outMessage) *share {
	if p.setBack {
		t.instanceProducer.gone(len(out))
		return nil
	}
	if p.isolated && t.current != nil && (t.current.calls > 0 || len(t.current.out) > 0) {
		t.seal() // what others have done goes without it
	}
	tr := t.gather()
	s := t.shareOf(tr, p)
	s.next = call.next
	p.joined = s.next
	s.messages += call.n
	tr.messages += call.n
	tr.calls++
	for _, o := range out {
		o.p, o.first, o.next = p, call.first, call.next
		tr.bytes += o.size
	}
	tr.out = append(tr.out, out...)
	if p.isolated || tr.messages >= t.w.cfg.TransactionMessages || tr.bytes >= maxTransactionBytes {
		t.seal()
	}
	return s
}

// gather returns the transaction that is gathered.
func (t *transactions) gather() *transaction {
	if t.current == nil {
		tr := &transaction{shares: map[*partition]*share{}}
		tr.timer = time.AfterFunc(t.w.cfg.TransactionInterval, func() { t.sealDue(tr) })
		t.current = tr
	}
	return t.current
}

func (t *transactions) shareOf(tr *transaction, p *partition) *share {
	s := tr.shares[p]
	if s == nil {
		o := p.acks.hold()
		s = &share{output: o, from: o.offset, next: o.offset}
		tr.shares[p] = s
		p.shared.Store(t)
	}
	return s
}

// sealDue seals a transaction whose interval is over, or has it sealed after the one
// before.
func (t *transactions) sealDue(tr *transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.current != tr:
	case len(t.sealed) > 0:
		tr.due = true
	default:
		t.seal()
	}
}

// seal hands over what is gathered to be committed.
func (t *transactions) seal() {
	if t.current == nil {
		return
	}
	t.current.timer.Stop()
	t.sealed = append(t.sealed, t.current)
	t.current = nil
	t.full.Store(len(t.sealed) >= maxSealed)
	if !t.running {
		t.running = true
		t.wg.Add(1)
		go t.run()
	}
}

// sendOutput seals the transaction that holds p's processed messages, if one is gathered.
func (t *transactions) sendOutput(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && t.current.shares[p] != nil {
		t.seal()
	}
}

// commitAsync has p's position committed although no call succeeded: with how often the
// message there has failed. The executor owns p.
func (t *transactions) commitAsync(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.setBack {
		return
	}
	t.shareOf(t.gather(), p)
	t.seal()
}

// commitIdle has p's position committed if what is committed is another one, though no message
// moves it: it has moved over what is no message, or the count of unfinished claims has had
// its time. Any goroutine may call it.
func (t *transactions) commitIdle(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The executor puts messages into a transaction first, and then moves the position:
	// in between the old position must not be committed after the new one.
	position := p.acks.processed.Load()
	if p.setBack || p.isLeaving() || p.joined != position || p.acks.outstanding.Load() != 0 || p.confirmed(p.commitAt(position)) {
		return
	}
	t.shareOf(t.gather(), p)
	t.seal()
}

// moved notes that p's position moves over what is no message. The executor owns p.
func (t *transactions) moved(p *partition, before, position int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.joined == before || before == noPosition {
		p.joined = position
	}
}

// sendDeadLetters puts records of d with other output of p's call and the offset after
// their messages into one transaction. The executor owns p, and begins nothing of it until
// the transaction has ended.
func (t *transactions) sendDeadLetters(d *deadLetters, records []*deadLetter) {
	w, p := d.w, d.p
	out := d.out
	for _, r := range records {
		m := w.record(d, r)
		out = append(out, &outMessage{Message: m, size: len(m.Key) + len(m.Value) + messageOverhead, deadLetter: r})
	}
	p.deadLetters = nil // until the transaction has failed, if it does
	p.isolated = true   // what the topic refuses takes nothing else along
	p.awaitsAll, p.awaitsFor = true, d.awaited()
	w.scheduler.change(func() { d.waiting = false })
	t.joinDeadLetters(p, d, out)
	p.moveOver(d.call)
}

func (t *transactions) joinDeadLetters(p *partition, d *deadLetters, out []*outMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	records := 0
	for _, o := range out {
		if o.deadLetter != nil {
			records++
		}
	}
	t.instanceProducer.queued(records)
	if s := t.join(p, d.call, out); s != nil {
		s.deadLetters = d
		t.seal() // unless it was full, and is on its way
	}
}

// deliver is Deliver: within a call there is nothing to wait for, since what it
// produces is not sent before it has returned.
func (t *transactions) deliver(ctx context.Context) error {
	t.mu.Lock()
	inQuantum := t.inQuantum
	t.mu.Unlock()
	if !inQuantum {
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	return t.instanceProducer.takeLost()
}

// flush returns when all that was gathered has ended, one way or the other, or
// with an error when ctx ends first.
func (t *transactions) flush(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.sealed) > 0 || t.current != nil {
		if t.failures == 0 { // else repeated messages wait for their pause
			t.seal()
		}
		settled := t.settled
		t.mu.Unlock()
		select {
		case <-settled:
			t.mu.Lock()
		case <-ctx.Done():
			t.mu.Lock()
			return fmt.Errorf("transactions not committed yet: %w", context.Cause(ctx))
		}
	}
	return nil
}

// wait is flush for the end of a partition: it waits for what that one has under
// way.
func (t *transactions) wait(ctx context.Context, p *partition) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		failure, flying := p.acks.state()
		switch {
		case failure != nil:
			return fmt.Errorf("its transaction was aborted: %w", failure)
		case flying == 0:
			return nil
		case p.lost():
			return errLost
		}
		if t.current != nil && t.current.shares[p] != nil {
			t.seal()
		}
		settled := t.settled
		t.mu.Unlock()
		select {
		case <-settled:
			t.mu.Lock()
		case <-ctx.Done():
			t.mu.Lock()
			return fmt.Errorf("its transaction is not committed yet: %w", context.Cause(ctx))
		}
	}
}

// flushPosition returns once p's position is committed with what belongs to it. At the
// end of p the count of its claim is taken back, though no message moves the position.
func (t *transactions) flushPosition(ctx context.Context, p *partition) error {
	if err := t.wait(ctx, p); err != nil || p.confirmed(p.commitPoint()) {
		return err
	}
	t.commitAsync(p)
	return t.wait(ctx, p)
}

// outputFailed lets p, which was set back, join transactions again.
func (t *transactions) outputFailed(p *partition, failure error, _ span) {
	t.mu.Lock()
	p.setBack, p.joined = false, -1
	t.mu.Unlock()
	t.w.transactionAborted(p, failure)
}

// close commits what is left and ends the producer, within ctx.
func (t *transactions) close(ctx context.Context) error {
	err := t.flush(ctx)
	t.cancel()
	t.wg.Wait()
	if t.unnamed() {
		return err
	}
	t.own.Lock()
	defer t.own.Unlock()
	p, perr := t.producer()
	if perr != nil {
		return err // it was never made, and its users got the error
	}
	return errors.Join(err, p.Close(ctx))
}

// commitSync has p alone wait, unless its message was called alone: nothing else may be in
// hand as long as it is counted.
func (t *transactions) commitSync(p *partition) {
	if p.suspect {
		atLeastOnce{}.commitSync(p)
		return
	}
	t.sendOutput(p)
	p.awaitsAll = true
}

func (t *transactions) hasRoom(*partition) bool { return true } // full bounds the number of messages
func (t *transactions) loopCommits() bool       { return false }
func (t *transactions) committing() bool        { return t.full.Load() }

// mustWait reports whether p's message at offset must be alone in its transaction
// and something before it is not committed yet. The executor owns p.
func (t *transactions) mustWait(p *partition, offset int64) bool {
	p.isolated = p.isolatedFrom <= offset && offset < p.isolatedTo
	if !p.isolated || p.acks.outstanding.Load() == 0 {
		return false
	}
	t.sendOutput(p)
	p.awaitsAll = true
	return true
}

// isolatedUntil is before which message of p a batch ends that begins at offset.
func (p *partition) isolatedUntil(offset int64) int64 {
	if offset < p.isolatedFrom && p.isolatedFrom < p.isolatedTo {
		return p.isolatedFrom
	}
	return noSuspect
}
