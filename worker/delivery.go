package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

// delivery is how an instance's output and positions get to the brokers: atLeastOnce, or
// *transactions. But for produce, deliver, committing and commitIdle, whoever owns the
// partition calls it.
type delivery interface {
	// enter and exit enclose the calls of a partition in a quantum: output belongs to them.
	enter(p *partition)
	exit()
	// produce and deliver are those of racecar.Producer.
	produce(ctx context.Context, m racecar.ProducerMessage) error
	deliver(ctx context.Context) error

	// mustWait reports whether p's message at offset may not be called before what p has on
	// its way has ended.
	mustWait(p *partition, offset int64) bool
	// takeOutput returns what the call that has just ended produced, if that is held.
	takeOutput() []*outMessage
	// add takes in a call that is done with, before its position moves; full: p is to begin
	// nothing more in this quantum.
	add(p *partition, call span, out []*outMessage) (full bool)
	// hasRoom reports whether p may have more output on its way.
	hasRoom(p *partition) bool
	// sendOutput sends p's output without waiting for more of it.
	sendOutput(p *partition)
	// sendDeadLetters sends records that are not acknowledged yet.
	sendDeadLetters(d *deadLetters, records []*deadLetter)
	// outputFailed deals with output that failed; p was set back to the call that was first.
	outputFailed(p *partition, failure error, call span)

	// moved notes that p's position moves over what is no message.
	moved(p *partition, before, position int64)
	// commitAsync has p's position committed without waiting, commitSync before its next call.
	commitAsync(p *partition)
	commitSync(p *partition)
	// commitIdle has the position of a partition committed that waits for messages.
	commitIdle(p *partition)
	// loopCommits reports whether the commit loop commits positions, besides the first.
	loopCommits() bool
	// committing reports whether calls have to wait for commits.
	committing() bool
	// close ends it, after the last call.
	close(ctx context.Context) error
}

// atLeastOnce sends output at once, and has the commit loop commit positions whose output
// is acknowledged.
type atLeastOnce struct{ producer *instanceProducer }

func (a atLeastOnce) enter(p *partition) { a.producer.enter(&p.acks) }
func (a atLeastOnce) exit()              { a.producer.exit() }

func (a atLeastOnce) produce(ctx context.Context, m racecar.ProducerMessage) error {
	p := a.producer
	t, err := p.w.transport()
	if err != nil {
		return err
	}
	o := p.begin()
	p.queued(1)
	topic := m.Topic
	m, traced := p.trace(ctx, m)
	out := outgoing(m)
	err = t.Send(ctx, out, func(partition int32, offset int64, err error) {
		if err != nil {
			p.w.stats.Add(scoreboard.ProduceErrors, 1)
		} else {
			p.w.stats.Add(scoreboard.Acknowledged, 1)
		}
		traced(partition, offset, err)
		p.reportOutcome(topic, partition, offset, err)
		o.done(err)
		p.deliveryDone(o, err)
	})
	if err != nil {
		traced(-1, -1, err)
		o.done(nil) // nothing is in flight; the caller gets the error
		p.deliveryDone(o, nil)
		if _, ok := errors.AsType[*producer.DeliveryError](err); !ok {
			err = fmt.Errorf("%w: %w", errNotAcknowledged, err) // there was no room
		}
	} else {
		p.w.stats.Add(scoreboard.Produced, 1)
	}
	p.reportQueued(&out, err)
	return err
}

func (a atLeastOnce) deliver(ctx context.Context) error {
	p := a.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying > 0 {
		if p.settled == nil {
			p.settled = make(chan struct{})
		}
		settled := p.settled
		p.mu.Unlock()
		err := a.await(ctx, settled)
		if p.mu.Lock(); err != nil {
			return err
		}
	}
	var errs []error
	if running := p.acks.Load(); running == nil {
		errs, p.lost = p.lost, nil
	} else if p.failing != nil && p.failing == running.running() {
		errs, p.failing, p.errs = p.errs, nil, nil
	}
	return errors.Join(errs...)
}

func (a atLeastOnce) await(ctx context.Context, settled <-chan struct{}) error {
	t, err := a.producer.w.transport()
	if err != nil {
		return err
	}
	t.SkipLinger()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotAcknowledged, context.Cause(ctx))
	}
}

func (atLeastOnce) mustWait(*partition, int64) bool           { return false }
func (atLeastOnce) takeOutput() []*outMessage                 { return nil }
func (atLeastOnce) add(*partition, span, []*outMessage) bool  { return false }
func (atLeastOnce) moved(_ *partition, _ /*before*/, _ int64) {}
func (atLeastOnce) commitIdle(*partition)                     {}
func (atLeastOnce) loopCommits() bool                         { return true }
func (atLeastOnce) committing() bool                          { return false }
func (atLeastOnce) close(context.Context) error               { return nil }
func (atLeastOnce) commitAsync(p *partition)                  { poke(p.m.commits.kick) }

func (a atLeastOnce) hasRoom(p *partition) bool {
	w := a.producer.w
	return p.acks.unacknowledged(p.processed) < int64(w.cfg.ProduceInFlight) && !p.isSingle(w.scheduler.clock.now())
}

func (a atLeastOnce) sendOutput(*partition) {
	if t, err := a.producer.w.transport(); err == nil {
		t.SkipLinger()
	}
}

func (a atLeastOnce) outputFailed(p *partition, failure error, call span) {
	w := a.producer.w
	o := p.called(eventOutputUndelivered, failure, call.n)
	if isAttempt(failure) {
		o.event = eventOutputRefused
	}
	w.carryOut(p, call, decide(o, p.retries(), &w.cfg), nil)
}

// commitSync gives up when p is to go: the commit at the end of the claim follows.
func (atLeastOnce) commitSync(p *partition) {
	_ = p.m.commits.flush(p.untilLeaving(), p) // logged by the loop
}

func (a atLeastOnce) sendDeadLetters(d *deadLetters, records []*deadLetter) {
	w, p := d.w, d.p
	d.slow = w.scheduler.clock.after(deadLetterSlow, func() {
		if d.under(w.scheduler) {
			w.partLog(p).WithField("offset", d.call.first).WithField("dead_letter_topic", d.topic).
				Warn("the dead-letter topic does not take the message: the partition waits for it")
		}
	})
	w.scheduler.change(func() {
		d.left, d.waiting = len(records), false
		w.scheduler.hold(p, heldBy{hold: holdDeadLetters, reason: d.awaited()})
	})
	t, terr := w.transport()
	go func() { // Send may wait for room; the executor may not
		for _, r := range records {
			serr := terr
			if serr == nil {
				serr = t.Send(context.Background(), w.record(d, r), func(_ int32, _ int64, err error) { d.recordDone(r, err) })
			}
			if serr != nil {
				d.recordDone(r, serr)
			}
		}
		if terr == nil {
			t.SkipLinger() // the partition waits for them
		}
	}()
}
