package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/racecar/event"
)

// This file shuts the worker down.

// shutdown is how and why a worker ends.
type shutdown struct {
	code       int
	err        error // nil: requested
	grace      time.Duration
	leaveGroup bool
	stay       bool // see wire.Command
}

// shutDown ends what run began: first the memberships, then the executors.
func (w *worker) shutDown(e shutdown, stop func(), members, executors *sync.WaitGroup) shutdown {
	w.stopWithin(e.grace, 0)
	defer w.stopDeadline()
	close(w.stopping)
	w.scheduler.halt()
	w.sendFrame()
	ctx := w.time
	w.releaseClaims(ctx)
	stop()
	for _, m := range w.memberships {
		go m.interruptRebalance(ctx)
	}
	if !within(ctx, members.Wait) {
		// A call that does not end, a join that waits, brokers that are gone.
		for _, m := range w.memberships {
			m.cutOff()
		}
		if w.orphaned.Err() != nil {
			w.leaveUnfinished()
		}
		if e.err == nil {
			e.code, e.err = wire.ExitCrash, fmt.Errorf("not finished within %v: %s", e.grace, w.inHand())
		}
		return e
	}
	w.scheduler.stop()
	executors.Wait()
	e = w.tearDown(e, slices.Concat(w.withOthers(w.serial), []*instance{w.takeSpare()})...)
	w.closeFetchers()
	if w.sendWith != nil {
		if err := w.sendWith.Close(ctx); err != nil {
			w.log.WithError(err).Error("output not delivered")
		}
	}
	if e.stay {
		w.stay()
	}
	e.leaveGroup = e.leaveGroup || w.leavesAsOrphan()
	// Even when no time is left: the group must not wait for us.
	ctx, cancel := context.WithTimeout(context.Background(), max(orphanLeave, time.Until(*w.stopAt.Load())))
	defer cancel()
	for _, m := range w.memberships {
		m.leaveGroup(ctx, e.leaveGroup)
	}
	w.emit(event.ShutDown{Consumer: w.reg.Name(), Group: w.group})
	return e
}

// tearDown tears down the instances that exist, in the time that is left. It abandons a
// Teardown that does not return: the process is about to end.
func (w *worker) tearDown(e shutdown, instances ...*instance) shutdown {
	done := within(w.time, func() {
		var all sync.WaitGroup
		for _, inst := range instances {
			if inst != nil {
				all.Go(func() { inst.tearDown(w.time) })
			}
		}
		all.Wait()
		w.setups.tearDown(w.time)
	})
	if !done && e.err == nil {
		e.code, e.err = wire.ExitCrash, fmt.Errorf("Teardown has not finished within %v", e.grace)
	}
	return e
}

// releaseClaims has all memberships finish their claims. The end of the session ends
// claims that are not finished in most of the grace.
func (w *worker) releaseClaims(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	most := func() time.Duration {
		grace := time.Until(*w.stopAt.Load())
		return max(grace/2, grace-cancelMargin-sessionEnd)
	}
	timer := time.AfterFunc(most(), cancel)
	defer timer.Stop()
	defer context.AfterFunc(w.orphaned, func() { timer.Reset(most()) })()
	var all sync.WaitGroup
	for _, m := range w.memberships { // a long call of one must not delay the others
		all.Go(func() { m.releaseClaims(ctx) })
	}
	all.Wait()
}

// sessionEnd is what the end of a session takes after its claims.
const sessionEnd = 2 * time.Second

// within reports whether f returned before ctx ended; it may go on afterwards.
func within(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// requestShutdown decides how the worker ends; the first request counts.
func (w *worker) requestShutdown(e shutdown) {
	select {
	case w.shutdownRequests <- e:
		w.scheduler.halt()
	default:
	}
}

// failWith shuts the worker down because of an error: as a permanent failure if the error
// is one, else as a crash. Processed messages are committed all the same.
func (w *worker) failWith(err error) {
	e := shutdown{code: wire.ExitCrash, err: err, grace: w.cfg.ShutdownTimeout}
	if p, ok := errors.AsType[permanentError](err); ok {
		e.code, e.err, e.leaveGroup = wire.ExitPermanent, p.error, true
	} else if reason, _, permanent := access.Permanent(err); permanent {
		e.code, e.err, e.leaveGroup = wire.ExitPermanent, errors.New(reason), true
	}
	w.requestShutdown(e)
}

// fatal ends the worker permanently, crash has it replaced.
func (w *worker) fatal(err error) { w.failWith(permanentError{err}) }

func (w *worker) crash(err error) { w.failWith(err) }

// failedConstructor ends the worker: permanently for racecar.Fatal, else as a crash.
func (w *worker) failedConstructor(err error) {
	if verdict.Of(err).Kind == verdict.Fatal {
		w.fatal(err)
		return
	}
	w.crash(err)
}

// deadline is when p must be finished: when it was marked as leaving plus how long the
// group waits for us, or when the worker must have ended.
func (w *worker) deadline(p *partition) time.Time {
	left := time.Now()
	if at := p.leftAt.Load(); at != nil {
		left = *at
	}
	d := left.Add(w.cfg.MaxPollInterval - w.cfg.HeartbeatInterval)
	if at := w.stopAt.Load(); at != nil && at.Before(d) {
		d = *at
	}
	return d
}

// stopWithin sets when all must be over, work a little earlier. A second call may only
// shorten it.
func (w *worker) stopWithin(d, reserve time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().Add(d)
	if old := w.stopAt.Load(); old != nil && !at.Before(*old) {
		return
	}
	w.stopAt.Store(&at)
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d-reserve, func() { w.timeUp(errTimeUp) })
}

// stopDeadline says that nothing is left that could take too long.
func (w *worker) stopDeadline() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// stay reports that all is finished and waits for the exit command, or for the end of the
// supervisor.
func (w *worker) stay() {
	w.stopDeadline()
	w.finished.Store(true)
	w.sendFrame()
	select {
	case <-w.exit:
	case <-w.orphaned.Done():
	}
}
