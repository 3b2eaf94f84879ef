package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/outage"
	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/racecar"
)

// firstInstance makes the consumer's first instance, and then waits for its promotion if the
// worker stands by. False when the worker ends before that: a stop does not wait for
// consumer code that nothing depends on yet.
func (w *worker) firstInstance(ctx context.Context) (*instance, shutdown, bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		inst *instance
		err  error
	}
	made := make(chan outcome, 1)
	go func() {
		inst, err := w.constructAll(ctx)
		made <- outcome{inst, err}
	}()
	var inst *instance
	promoted := w.promoted
	for inst == nil || promoted != nil {
		select {
		case o := <-made:
			if o.err != nil && ctx.Err() == nil {
				w.failedConstructor(o.err)
				return nil, w.unbegun(nil, <-w.shutdownRequests), false
			}
			if inst = o.inst; inst == nil {
				continue // ctx has ended
			}
			w.constructed.Store(true)
			w.sendFrame()
		case <-promoted:
			promoted = nil
		case e := <-w.shutdownRequests:
			return nil, w.unbegun(inst, e), false
		case <-ctx.Done():
			return nil, w.unbegun(inst, shutdown{grace: w.cfg.ShutdownTimeout}), false
		}
	}
	return inst, shutdown{}, true
}

// unbegun ends a worker that has not joined its group.
func (w *worker) unbegun(inst *instance, e shutdown) shutdown {
	w.stopWithin(e.grace, 0)
	defer w.stopDeadline()
	e = w.tearDown(e, w.withOthers(inst)...)
	if inst != nil && w.sendWith != nil { // a setup or the constructor may have produced
		if err := w.sendWith.Close(w.time); err != nil {
			w.log.WithError(err).Error("output not delivered")
		}
	}
	return e
}

// constructAll makes the instances that are there before the group is joined, and returns
// the first one: with lanes one for each executor, else only that.
func (w *worker) constructAll(ctx context.Context) (*instance, error) {
	if !w.inLanes() {
		return w.construct(ctx)
	}
	var all []*instance
	for range w.cfg.Concurrency {
		inst, err := w.construct(ctx)
		if err != nil {
			for _, made := range all {
				made.tearDown(w.time)
			}
			return nil, err
		}
		all = append(all, inst)
	}
	w.instances = all
	return all[0], nil
}

// withOthers returns the first instance, and with lanes the others.
func (w *worker) withOthers(first *instance) []*instance {
	if first == nil || len(w.instances) == 0 {
		return []*instance{first}
	}
	return w.instances
}

// construct runs the setups and makes an instance. Once the consumer has been ready, an error
// of either comes from outside, as one that says so (racecar.Unavailable) does at any time:
// construct retries it until ctx ends, and the worker waits.
func (w *worker) construct(ctx context.Context) (*instance, error) {
	var txn *transactions
	if w.transactional() {
		txn = w.newTransactions(w.firstTransactionalID())
	}
	var tries constructorTries
	limited := false // the supervisor limits the time until the worker waits
	for {
		inst, err := w.setUpAndConstruct(ctx, txn, limited)
		if err == nil {
			w.unmade.Store(nil)
			return inst, nil
		}
		h := w.opts.Handshake
		unavailable := !isFinal(err) && verdict.Of(err).Kind == verdict.Unavailable
		if !unavailable && (!h.WasReady || h.Standby || isFinal(err)) {
			return nil, err
		}
		pause, shouldLog := tries.failed(w, err)
		if shouldLog {
			w.log.WithError(err).WithField("attempt", tries.n).Warn("the consumer cannot be constructed yet")
		}
		reason := constructorReason(err)
		w.unmade.Store(&reason)
		w.sendFrame()
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
		if limited = unavailable; limited {
			continue // the worker still waits, for which nobody limits the time
		}
		w.unmade.Store(nil) // starting again, which has its limit
		w.sendFrame()
	}
}

// constructorTries are the calls of a constructor that fails.
type constructorTries struct {
	n      int
	outage outage.Pauses
	logged time.Time
}

// failed notes a call that failed. It returns how long to wait before the next one, and
// whether to log this one: all but those that repeat that a dependency is unavailable.
func (c *constructorTries) failed(w *worker, err error) (pause time.Duration, shouldLog bool) {
	c.n++
	now := w.scheduler.clock.now()
	v := verdict.Of(err)
	if v.Kind != verdict.Unavailable {
		return backoff(c.n), true
	}
	longest := w.outageOptions().Longest
	if began := c.outage.Report(now, v.After, longest, rand.Float64()); !began {
		c.outage.Unavailable(now, v.After, longest, rand.Float64())
	}
	if shouldLog = now.Sub(c.logged) >= loggedEvery; shouldLog {
		c.logged = now
	}
	return max(c.outage.Pause(), retryFloor), shouldLog
}

// constructorReason is what a worker waits for whose constructor returns err.
func constructorReason(err error) string {
	if v := verdict.Of(err); v.Kind == verdict.Unavailable {
		return "waiting for " + named(v.Dependency) + ": " + oneLine(err)
	}
	return oneLine(err)
}

// isFinal reports whether a constructor's error is not to be retried in this process:
// Fatal ends the worker, a panic is a crash.
func isFinal(err error) bool {
	if v, ok := errors.AsType[*verdict.Error](err); ok && v.Kind == verdict.Fatal {
		return true
	}
	_, panicked := errors.AsType[*panicError](err)
	return panicked
}

// instanceFor makes the instance of a partition, with concurrency. spare is the one
// that was made before the group was joined; nil: it has a partition. As long as the
// constructor fails, the partition waits, and nothing else does. False when the claim
// or the worker ends first.
func (m *membership) instanceFor(p *partition, spare *instance, txn *transactions) (*instance, bool) {
	if spare != nil {
		return spare, true
	}
	ctx := p.untilLeaving()
	var tries constructorTries
	for {
		inst, err := m.w.newInstanceWithin(txn)
		if err == nil {
			p.setUnmade(nil)
			return inst, true
		}
		if isFinal(err) {
			m.w.failedConstructor(err)
			return nil, false
		}
		pause, shouldLog := tries.failed(m.w, err)
		if shouldLog {
			m.w.partLog(p).WithError(err).WithField("attempt", tries.n).Warn("the partition waits: its instance of the consumer cannot be constructed yet")
			m.w.problem(p.topicPartition, p.acks.processed.Load(), err)
		}
		p.setUnmade(err)
		m.ready(p.topicPartition) // the membership runs without it
		if !sleep(ctx, pause) {
			return nil, false
		}
	}
}

// newInstanceWithin is newInstance in bounded time: nobody else would notice.
func (w *worker) newInstanceWithin(txn *transactions) (*instance, error) {
	defer w.limitBoot("constructor")()
	return w.newInstance(txn)
}

// limitBoot ends the worker unless the function that it returns is called within
// worker_boot_timeout.
func (w *worker) limitBoot(what string) (stop func()) {
	limit := w.cfg.WorkerBootTimeout
	if limit == 0 {
		return func() {}
	}
	stuck := w.scheduler.clock.after(limit, func() {
		w.dumpStacks()
		w.crash(fmt.Errorf("%s of %s: takes longer than worker_boot_timeout (%v)", what, w.reg.Name(), limit))
	})
	return func() { stuck.Stop() }
}

// setUpAndConstruct runs the setups that are left and makes the first instance, in bounded time if
// nobody else limits it.
func (w *worker) setUpAndConstruct(ctx context.Context, txn *transactions, limited bool) (*instance, error) {
	if limited {
		defer w.limitBoot("setup or constructor")()
	}
	if err := w.setups.run(ctx); err != nil {
		return nil, err
	}
	return w.newInstance(txn)
}

// setUnmade says why p has no instance yet; nil: it has.
func (p *partition) setUnmade(err error) {
	t := p.m.w.scheduler
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.unhold(p, holdInstance)
		return
	}
	t.hold(p, heldBy{hold: holdInstance, reason: "waiting for its instance: " + constructorReason(err)})
}

// takeSpare returns the instance that was made before joining, if no partition has it.
func (w *worker) takeSpare() *instance { return w.spare.Swap(nil) }

// dropSpare takes back the spare instance of a partition that was not opened.
func (w *worker) dropSpare(spare *instance) {
	if spare == nil {
		return
	}
	if spare.txn == nil {
		w.spare.Store(spare)
		return
	}
	spare.tearDown(w.time) // its transactional id was the partition's
}

// instance is one value made by the consumer's constructor: one for the whole
// worker, or with concurrency above 1 one for each partition.
type instance struct {
	w        *worker
	value    any
	single   racecar.Processor
	batch    racecar.BatchProcessor
	producer *instanceProducer
	txn      *transactions // nil: the consumer is not transactional
	delivery delivery      // txn, or at least once
	teardown sync.Once

	// mu is held while consumer code runs: for a quantum, or for a hook.
	mu   sync.Mutex
	torn bool // Teardown was called: it is the last hook; guarded by mu
	// span is the ctx of the last call, which carries its span; nil without a tracer.
	// The executor that calls owns it.
	span context.Context
}

// bareInstance is an instance without a value.
func (w *worker) bareInstance(txn *transactions) *instance {
	inst := &instance{w: w, producer: &instanceProducer{w: w}, txn: txn}
	inst.producer.unattributed.notify = func() {}
	if inst.delivery = (atLeastOnce{inst.producer}); txn != nil {
		inst.delivery, txn.instanceProducer = txn, inst.producer
	}
	inst.producer.delivery = inst.delivery
	return inst
}

// newInstance calls the constructor. txn is what the instance commits with, and
// its from then on; nil without transactions.
func (w *worker) newInstance(txn *transactions) (*instance, error) {
	inst := w.bareInstance(txn)
	var value any
	err := recovered(func() (err error) {
		value, err = w.reg.New(w.runtime(inst.producer))
		return err
	})
	if err != nil {
		if p, ok := errors.AsType[*panicError](err); ok {
			w.log.WithField("stack", p.stack).Error("constructor panicked")
		}
		return nil, fmt.Errorf("constructor of %s: %w", w.reg.Name(), err)
	}
	inst.value = value
	inst.single, _ = value.(racecar.Processor)
	inst.batch, _ = value.(racecar.BatchProcessor)
	if inst.single == nil && inst.batch == nil {
		return nil, fmt.Errorf("constructor of %s: it returned no consumer but %T", w.reg.Name(), value)
	}
	if err := w.mistakes(); err != nil {
		return nil, err
	}
	if err := recovered(inst.wrap); err != nil {
		return nil, fmt.Errorf("middlewares of %s: %w", w.reg.Name(), err)
	}
	inst.trace()
	return inst, nil
}

// mistakes returns what was registered wrongly since the start, which ends the worker
// permanently: a new process would do the same.
func (w *worker) mistakes() error {
	if w.opts.Mistakes == nil {
		return nil
	}
	all := w.opts.Mistakes()
	if len(all) <= w.mistakesAtStart {
		return nil
	}
	return &verdict.Error{Kind: verdict.Fatal, After: -1, Err: errors.Join(all[w.mistakesAtStart:]...)}
}
