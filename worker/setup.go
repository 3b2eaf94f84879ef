package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
)

// setups runs the functions given to racecar.Setup, and at the end what they returned.
type setups struct {
	w        *worker
	producer *instanceProducer

	mu        sync.Mutex // never held while consumer code runs
	done      int        // how many functions have succeeded
	teardowns []teardown
	ended     bool // the teardowns have been called, and are called at once from now on
}

type teardown struct {
	f    func(context.Context) error
	line string // of its Setup
}

func newSetups(w *worker) *setups { return &setups{w: w, producer: w.bareInstance(nil).producer} }

// run runs the functions that have not succeeded yet. It returns an error if ctx has ended
// meanwhile: the worker does not wait for the instance any more.
func (s *setups) run(stopped context.Context) error {
	ctx := stopped
	if limit := s.w.cfg.WorkerBootTimeout; limit > 0 {
		// A little earlier than the supervisor ends the worker, so that it learns the error.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit-min(limit/10, time.Second))
		defer cancel()
	}
	s.mu.Lock()
	left := s.w.opts.Setups[s.done:]
	s.mu.Unlock()
	for _, one := range left {
		if err := s.runOne(ctx, one); err != nil {
			return err
		}
		if err := stopped.Err(); err != nil {
			return err
		}
	}
	return s.w.mistakes()
}

func (s *setups) runOne(ctx context.Context, one registered.Setup) error {
	var undo func(context.Context) error
	err := recovered(func() (err error) {
		undo, err = one.Run(ctx, s.w.runtime(s.producer))
		return err
	})
	if err != nil {
		if p, ok := errors.AsType[*panicError](err); ok {
			s.w.log.WithField("setup", one.Line).WithField("stack", p.stack).Error("setup panicked")
		}
		return fmt.Errorf("setup at %s: %w", one.Line, err)
	}
	s.mu.Lock()
	s.done++
	ended := s.ended
	if undo != nil && !ended {
		s.teardowns = append(s.teardowns, teardown{undo, one.Line})
	}
	s.mu.Unlock()
	if undo != nil && ended { // the worker did not wait for it
		s.w.tearDownSetup(s.w.time, teardown{undo, one.Line})
	}
	return nil
}

// tearDown delivers what the functions produced and undoes what they did.
func (s *setups) tearDown(ctx context.Context) {
	s.mu.Lock()
	all := s.teardowns
	s.teardowns, s.ended = nil, true
	s.mu.Unlock()
	if err := s.producer.Deliver(ctx); err != nil {
		s.w.log.WithError(err).Error("output of setups not delivered")
	}
	for i := len(all) - 1; i >= 0; i-- {
		s.w.tearDownSetup(ctx, all[i])
	}
}

func (w *worker) tearDownSetup(ctx context.Context, t teardown) {
	err := w.withWatchdog("the teardown of the setup at "+t.line, func() error { return t.f(ctx) })
	if err == nil {
		return
	}
	log := w.log.WithError(bounded(err)).WithField("setup", t.line)
	if p, ok := errors.AsType[*panicError](err); ok {
		log = log.WithField("stack", p.stack)
	}
	log.Error("teardown of a setup failed")
	w.onError(w.opts.base(), err, racecar.ErrorInfo{})
}

// runtime is what consumer code receives that produces with p.
func (w *worker) runtime(p *instanceProducer) racecar.Runtime {
	return racecar.Runtime{
		Producer: p,
		Logger:   w.slog,
		Worker:   racecar.Worker{Consumer: w.reg.Name(), Index: w.index, Group: w.group},
		Config:   &w.cfg,
	}
}
