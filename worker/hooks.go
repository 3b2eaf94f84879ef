package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/racecar-go/racecar/racecar"
)

// hook runs a piece of consumer code that is no message, with no call beside it.
// A panic is contained: a hook stops nothing. One that does not return would block all
// calls of the instance, or a rebalance of the group: the worker ends then.
func (i *instance) hook(name string, f func() error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.torn { // figures that were made before
		return
	}
	err := i.w.withWatchdog(name, f)
	if err == nil {
		return
	}
	log := i.w.log.WithError(bounded(err)).WithField("hook", name)
	if p, ok := errors.AsType[*panicError](err); ok {
		log = log.WithField("stack", p.stack)
	}
	log.Error("hook failed")
	i.w.onError(i.w.opts.base(), err, racecar.ErrorInfo{})
}

// withWatchdog runs consumer code that is no call of a message, so that the scoreboard does not
// show it. One that does not come back ends the worker.
func (w *worker) withWatchdog(name string, f func() error) error {
	limit := w.cfg.MaxPollInterval
	stuck := w.scheduler.clock.after(limit, func() {
		w.crash(fmt.Errorf("%s takes longer than max_poll_interval (%v)", name, limit))
	})
	defer stuck.Stop()
	return recovered(f)
}

// assigned and revoked call the hooks of that name, if there are any.
func (i *instance) assigned(a racecar.Assignment) {
	h, ok := i.value.(racecar.AssignmentHook)
	if !ok || a.Empty() {
		return
	}
	i.hook("OnPartitionsAssigned", func() error {
		h.OnPartitionsAssigned(i.w.opts.base(), a)
		return nil
	})
}

func (i *instance) revoked(a racecar.Assignment) {
	h, ok := i.value.(racecar.RevocationHook)
	if !ok || a.Empty() {
		return
	}
	i.hook("OnPartitionsRevoked", func() error {
		h.OnPartitionsRevoked(i.w.opts.base(), a)
		return nil
	})
}

// tearDown delivers what was produced and calls Teardown, once however often it
// is called.
func (i *instance) tearDown(ctx context.Context) {
	i.teardown.Do(func() {
		if err := i.producer.Deliver(ctx); err != nil {
			i.w.log.WithError(err).Error("output not delivered before teardown")
		}
		if h, ok := i.value.(racecar.TeardownHook); ok {
			i.hook("Teardown", func() error { i.torn = true; return h.Teardown(ctx) })
		}
		if err := i.delivery.close(ctx); err != nil {
			i.w.log.WithError(err).Error("the last transaction did not end well: what it held is processed again")
		}
	})
}

// assigned and revoked call the hooks of all instances that serve the partitions of the
// whole worker, with no order among the instances.
func (w *worker) assigned(a racecar.Assignment) {
	w.eachInstance(func(i *instance) { i.assigned(a) })
}

func (w *worker) revoked(a racecar.Assignment) {
	w.eachInstance(func(i *instance) { i.revoked(a) })
}

func (w *worker) eachInstance(f func(*instance)) {
	if w.serial == nil {
		return
	}
	if len(w.instances) == 0 {
		f(w.serial)
		return
	}
	var all sync.WaitGroup
	for _, i := range w.instances { // a long call of one must not delay the others
		all.Go(func() { f(i) })
	}
	all.Wait()
}
