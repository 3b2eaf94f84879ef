package racecartest

import (
	"context"
	"slices"
	"sync"

	"github.com/racecar-go/racecar/racecar"
)

// faults are errors that calls return instead of the consumer.
type faults struct {
	mu     sync.Mutex
	next   []error  // one for each call
	always []*error // for every call, the newest last
}

func (f *faults) add(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.next = append(f.next, err)
	}
}

// until has all calls fail with err until the function that it returns is called.
func (f *faults) until(err error) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := &err
	f.always = append(f.always, one)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.always = slices.DeleteFunc(f.always, func(e *error) bool { return e == one })
	}
}

// take returns the error for this call; ok is false without one.
func (f *faults) take() (error, bool) { //nolint:revive // the error is what is asked for, not a failure
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.always); n > 0 {
		return *f.always[n-1], true
	}
	if len(f.next) == 0 {
		return nil, false
	}
	err := f.next[0]
	f.next = f.next[1:]
	return err, true
}

// withFaults returns a consumer whose calls return the errors of f first.
func withFaults(inner *racecar.Registration, f *faults) (*racecar.Registration, error) {
	spec := inner.Spec()
	if inner.Batch() {
		return racecar.NewRegistration(func(rt racecar.Runtime) (*faultyBatch, error) {
			c, err := inner.New(rt)
			return &faultyBatch{hooks{c}, f}, err
		}, spec)
	}
	return racecar.NewRegistration(func(rt racecar.Runtime) (*faultySingle, error) {
		c, err := inner.New(rt)
		return &faultySingle{hooks{c}, f}, err
	}, spec)
}

type faultySingle struct {
	hooks
	faults *faults
}

func (c *faultySingle) Process(ctx context.Context, m *racecar.Message) error {
	if err, ok := c.faults.take(); ok {
		return err
	}
	return c.inner.(racecar.Processor).Process(ctx, m)
}

type faultyBatch struct {
	hooks
	faults *faults
}

func (c *faultyBatch) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	if err, ok := c.faults.take(); ok {
		return err
	}
	return c.inner.(racecar.BatchProcessor).ProcessBatch(ctx, messages)
}

// hooks forwards the hooks to a consumer that has them.
type hooks struct{ inner any }

func (h hooks) Teardown(ctx context.Context) error {
	if c, ok := h.inner.(racecar.TeardownHook); ok {
		return c.Teardown(ctx)
	}
	return nil
}

func (h hooks) OnPartitionsAssigned(ctx context.Context, a racecar.Assignment) {
	if c, ok := h.inner.(racecar.AssignmentHook); ok {
		c.OnPartitionsAssigned(ctx, a)
	}
}

func (h hooks) OnPartitionsRevoked(ctx context.Context, a racecar.Assignment) {
	if c, ok := h.inner.(racecar.RevocationHook); ok {
		c.OnPartitionsRevoked(ctx, a)
	}
}

func (h hooks) OnStatistics(ctx context.Context, s racecar.Statistics) {
	if c, ok := h.inner.(racecar.StatisticsHook); ok {
		c.OnStatistics(ctx, s)
	}
}
