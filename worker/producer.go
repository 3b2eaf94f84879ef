package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// transport is what a producer sends with: a *kafka.Producer.
type transport interface {
	Send(ctx context.Context, m kafka.ProducerMessage, done kafka.Done) error
	Hurry()
	Close(ctx context.Context) error
}

// producer is the racecar.Producer of one instance. It ties what is produced to
// the call that is running, by its partition's acks.
type producer struct {
	w    *worker
	part atomic.Pointer[partition] // whose turn it is; nil: nobody's
	txn  *transactions             // nil: the consumer is not transactional

	// loose is what was produced between calls. Its offsets are a count of them.
	loose acks

	mu      sync.Mutex
	flying  int
	errs    []undelivered // finally failed, since the last Deliver
	settled chan struct{} // closed when flying falls to 0; nil when nobody waits
}

var _ racecar.Producer = (*producer)(nil)

func newProducer(w *worker) *producer {
	p := &producer{w: w}
	p.loose.notify = func() {}
	return p
}

// enter gives the producer to the calls of a partition, exit takes it back.
func (p *producer) enter(part *partition) {
	if p.txn != nil {
		p.txn.beginTurn()
		return
	}
	part.acks.enter()
	p.part.Store(part)
}

func (p *producer) exit() {
	if p.txn != nil {
		p.txn.endTurn()
		return
	}
	if part := p.part.Swap(nil); part != nil {
		part.acks.exit()
	}
}

// Produce implements racecar.Producer.
func (p *producer) Produce(ctx context.Context, m racecar.ProducerMessage) error {
	if p.txn != nil {
		out := outgoing(m)
		err := p.txn.produce(ctx, out)
		p.tellQueued(&out, err)
		return err
	}
	t, err := p.w.transport()
	if err != nil {
		return err
	}
	o := p.begin()
	p.mu.Lock()
	p.flying++
	p.mu.Unlock()
	p.w.stats.add(statProduced, 1)
	topic, traced := m.Topic, p.trace(ctx, &m)
	out := outgoing(m)
	err = t.Send(ctx, out, func(partition int32, offset int64, err error) {
		if err != nil {
			p.w.stats.add(statProduceErrors, 1)
		} else {
			p.w.stats.add(statAcknowledged, 1)
		}
		traced(partition, offset, err)
		p.tellEnded(topic, partition, offset, err)
		o.done(err)
		p.ended(o, err)
	})
	if err != nil {
		traced(-1, -1, err)
		o.done(nil) // nothing is on its way; the caller is told
		p.ended(o, nil)
	}
	p.tellQueued(&out, err)
	return err
}

// begin ties a delivery to the call that is running, or to none.
func (p *producer) begin() *output {
	if part := p.part.Load(); part != nil {
		if out := part.acks.begin(); out != nil {
			return out
		}
	}
	return p.loose.alone()
}

// undelivered is output that finally was not delivered.
type undelivered struct {
	from *acks // the partition's whose call produced it, or loose
	err  error
}

func (p *producer) ended(out *output, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && len(p.errs) < maxDeliverErrors {
		p.errs = append(p.errs, undelivered{out.acks, err})
	}
	if p.flying--; p.flying == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// maxDeliverErrors bounds what Deliver returns: the thousandth says nothing new.
const maxDeliverErrors = 20

// Deliver implements racecar.Producer.
func (p *producer) Deliver(ctx context.Context) error {
	if p.w.opts.Emit != nil {
		return p.tellDelivered(func() error { return p.deliver(ctx) })
	}
	return p.deliver(ctx)
}

func (p *producer) deliver(ctx context.Context) error {
	if p.txn != nil {
		if err := p.txn.deliver(ctx); err != nil {
			return err
		}
	}
	p.mu.Lock()
	if p.flying > 0 && p.txn == nil {
		if p.settled == nil {
			p.settled = make(chan struct{})
		}
		settled := p.settled
		p.mu.Unlock()
		t, err := p.w.transport()
		if err != nil {
			return err
		}
		t.Hurry()
		select {
		case <-settled:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errNotAcknowledged, context.Cause(ctx))
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	var errs []error
	for _, u := range p.errs {
		errs = append(errs, u.err)
	}
	p.errs = nil
	return errors.Join(errs...)
}

// forget drops the failures of a partition whose messages are processed again:
// Deliver is not to report what has been dealt with.
func (p *producer) forget(part *partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = slices.DeleteFunc(p.errs, func(u undelivered) bool { return u.from == &part.acks })
}

// outgoing copies m: the consumer may reuse its buffers.
func outgoing(m racecar.ProducerMessage) kafka.ProducerMessage {
	out := kafka.ProducerMessage{
		Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		PartitionKey: m.PartitionKey, Timestamp: m.Timestamp,
	}
	if len(m.Headers) > 0 {
		out.Headers = make([]kafka.Header, len(m.Headers))
		for i, h := range m.Headers {
			out.Headers[i] = kafka.Header(h)
		}
	}
	return out.Clone()
}
