package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

// This file is the racecar.Producer that consumer code gets.

// transport is what a producer sends with: a *producer.Producer.
type transport interface {
	Send(ctx context.Context, m producer.Message, done producer.Done) error
	SkipLinger()
	Close(ctx context.Context) error
}

// instanceProducer is the racecar.Producer of one instance. It ties what is produced to
// the call that is running, by its partition's acks.
type instanceProducer struct {
	w        *worker
	acks     atomic.Pointer[acks] // of the calls that run; nil: none do
	delivery delivery

	// unattributed is the output made between calls. Its offsets are a count of messages.
	unattributed acks

	mu      sync.Mutex
	flying  int
	failing *output       // of the running call, if a delivery failed permanently; nil: none did
	errs    []error       // of that
	lost    []error       // of output made between calls, since the last Deliver there
	lostAt  time.Time     // when that was logged last
	settled chan struct{} // closed when flying falls to 0; nil when nobody waits
}

var _ racecar.Producer = (*instanceProducer)(nil)

// enter gives the producer to calls, whose output is counted in a; exit takes it back.
func (p *instanceProducer) enter(a *acks) {
	a.enter()
	p.acks.Store(a)
}

func (p *instanceProducer) exit() {
	if a := p.acks.Swap(nil); a != nil {
		a.exit()
	}
}

// Produce implements racecar.Producer.
func (p *instanceProducer) Produce(ctx context.Context, m racecar.ProducerMessage) error {
	return p.delivery.produce(ctx, m)
}

// begin ties a delivery to the call that is running, or to none.
func (p *instanceProducer) begin() *output {
	if a := p.acks.Load(); a != nil {
		if out := a.begin(); out != nil {
			return out
		}
	}
	return p.unattributed.addUnattributed()
}

// deliveryDone notes the failures that Deliver will report: of the running call's own output,
// and, between calls, of the output made there. The acks of their partitions handle the
// output of other calls.
func (p *instanceProducer) deliveryDone(out *output, err error) {
	between := out.acks == &p.unattributed
	running := out.isOpen()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
	case between:
		p.lost = appendUpTo(maxDeliverErrors, p.lost, err)
		if now := p.w.scheduler.clock.now(); now.Sub(p.lostAt) >= time.Second { // nobody may ever call Deliver there
			p.lostAt = now
			p.w.log.WithError(err).Error("output produced between calls is not delivered")
			go p.w.onError(p.w.opts.base(), err, racecar.ErrorInfo{UnrecoverableDelivery: true}) // it may take its time
		}
	case running && p.failing == out:
		p.errs = appendUpTo(maxDeliverErrors, p.errs, err)
	case running:
		p.failing, p.errs = out, []error{err}
	}
	if p.flying--; p.flying == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

func appendUpTo(n int, errs []error, err error) []error {
	if len(errs) < n {
		errs = append(errs, err)
	}
	return errs
}

// maxDeliverErrors bounds what Deliver returns: the thousandth says nothing new.
const maxDeliverErrors = 20

// Deliver implements racecar.Producer.
func (p *instanceProducer) Deliver(ctx context.Context) error {
	if p.w.opts.Emit != nil {
		return p.reportDelivered(func() error { return p.delivery.deliver(ctx) })
	}
	return p.delivery.deliver(ctx)
}

// takeLost returns the failures of output made between calls.
func (p *instanceProducer) takeLost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := p.lost
	p.lost = nil
	return errors.Join(lost...)
}

// outgoing is m as the transport takes it, which copies it in Send.
func outgoing(m racecar.ProducerMessage) producer.Message {
	out := producer.Message{
		Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		PartitionKey: m.PartitionKey, Timestamp: m.Timestamp,
	}
	if len(m.Headers) > 0 {
		out.Headers = make([]producer.Header, len(m.Headers))
		for i, h := range m.Headers {
			out.Headers[i] = producer.Header(h)
		}
	}
	return out
}

// inFlight is how many messages are not acknowledged yet.
func (p *instanceProducer) inFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flying
}

// queued and gone count what a transactional consumer has under way.
func (p *instanceProducer) queued(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying += n
}

func (p *instanceProducer) gone(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying -= n
}

// failed has the next Deliver report output made between calls that is lost.
func (p *instanceProducer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = appendUpTo(maxDeliverErrors, p.lost, err)
}
