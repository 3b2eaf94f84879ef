package worker

import (
	"context"

	"github.com/racecar-go/racecar/racecar"
)

// Spans are made around the instance, so that without a tracer the path of
// messages knows nothing of them.

// trace puts the tracer, if there is one, around the instance's calls.
func (i *instance) trace() {
	t := i.w.opts.Tracer
	if t == nil {
		return
	}
	identity := racecar.Worker{Consumer: i.w.reg.Name(), Index: i.w.index, Group: i.w.group}
	if i.single != nil {
		i.single = tracedProcessor{i, t, identity, i.single}
	}
	if i.batch != nil {
		i.batch = tracedBatchProcessor{i, t, identity, i.batch}
	}
}

type tracedProcessor struct {
	instance *instance
	tracer   racecar.Tracer
	worker   racecar.Worker
	inner    racecar.Processor
}

// Process implements racecar.Processor.
func (t tracedProcessor) Process(ctx context.Context, m *racecar.Message) (err error) {
	ctx, end := t.tracer.ProcessMessage(ctx, t.worker, m)
	t.instance.span = ctx
	err = errNotReturned
	defer func() { end(err) }()
	err = t.inner.Process(ctx, m)
	return err
}

type tracedBatchProcessor struct {
	instance *instance
	tracer   racecar.Tracer
	worker   racecar.Worker
	inner    racecar.BatchProcessor
}

// ProcessBatch implements racecar.BatchProcessor.
func (t tracedBatchProcessor) ProcessBatch(ctx context.Context, ms []*racecar.Message) (err error) {
	ctx, end := t.tracer.ProcessBatch(ctx, t.worker, ms)
	t.instance.span = ctx
	err = errNotReturned
	defer func() { end(err) }()
	err = t.inner.ProcessBatch(ctx, ms)
	return err
}

// errNotReturned stands in a span for a call that panicked; the panic goes on.
var errNotReturned = &panicError{value: "the call did not return"}

// trace begins the span of a message to be produced, if there is a tracer. It returns the
// message with what the tracer added; without one m stays on the stack.
func (p *instanceProducer) trace(ctx context.Context, m racecar.ProducerMessage) (traced racecar.ProducerMessage, end func(int32, int64, error)) {
	if p.w.opts.Tracer == nil {
		return m, untraced
	}
	own := m
	end = p.w.opts.Tracer.Produce(ctx, &own)
	return own, end
}

func untraced(int32, int64, error) {}
