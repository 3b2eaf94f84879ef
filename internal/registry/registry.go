// Package registry holds what a program registers with package racecar. It cannot name
// racecar's types, since racecar fills it; those who run a program read it through
// package registered.
package registry

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/racecar-go/racecar/config"
)

// Consumer is what the registry knows of a *racecar.Registration.
type Consumer interface{ Name() string }

// Tracer is what the registry knows of a racecar.Tracer.
type Tracer interface {
	Start(c *config.Config, log *slog.Logger) error
}

// Registry holds consumers (C), subscribers to events (E), a tracer (T), middlewares (M),
// functions for the start of a worker (S) and functions that change the configuration. Its
// methods may be called from several goroutines.
type Registry[C Consumer, E any, T Tracer, M, S any] struct {
	mu          sync.Mutex
	consumers   map[string]C
	mistakes    []error
	configures  []func(*config.Config) error
	observers   []func(E)
	tracer      T // nil: none
	middlewares []M
	setups      []Setup[S]
	started     bool
}

// Setup is a function for the start of a worker, and the line that it was registered at.
type Setup[S any] struct {
	Run  S
	Line string
}

// shared is the registry of package racecar, set once while the program is initialized.
var shared any

// Share makes r the registry that Shared returns.
func Share[R any](r R) R {
	shared = r
	return r
}

// Shared returns the registry given to Share, whose type is R.
func Shared[R any]() R { return shared.(R) }

// ConsumerError is a mistake of one consumer, whose name and type are right: the others
// can be run.
type ConsumerError struct {
	Consumer string
	Err      error
}

func (e *ConsumerError) Error() string { return e.Err.Error() }
func (e *ConsumerError) Unwrap() error { return e.Err }

// Add adds a consumer. Its error says that the name is taken.
func (r *Registry[C, E, T, M, S]) Add(c C) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.consumers[c.Name()]; taken {
		return fmt.Errorf("the name %q is taken; set Spec.Name", c.Name())
	}
	if r.consumers == nil {
		r.consumers = map[string]C{}
	}
	r.consumers[c.Name()] = c
	return nil
}

// AddMistake keeps what is wrong with a registration.
func (r *Registry[C, E, T, M, S]) AddMistake(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mistakes = append(r.mistakes, err)
}

// Mistakes returns what was given to AddMistake, in order.
func (r *Registry[C, E, T, M, S]) Mistakes() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mistakes)
}

// Consumers returns all consumers in order of their names.
func (r *Registry[C, E, T, M, S]) Consumers() []C {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]C, 0, len(r.consumers))
	for _, c := range r.consumers {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b C) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// Lookup returns the consumer called name, or a zero C.
func (r *Registry[C, E, T, M, S]) Lookup(name string) C {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.consumers[name]
}

// AddConfigure adds a function that changes the configuration.
func (r *Registry[C, E, T, M, S]) AddConfigure(f func(*config.Config) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.configures = append(r.configures, f)
}

// Configures returns the functions given to AddConfigure, in order.
func (r *Registry[C, E, T, M, S]) Configures() []func(*config.Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.configures)
}

// AddObserver adds a subscriber, which is called with one event at a time, and reports
// whether a worker or producer has already asked for the subscribers.
func (r *Registry[C, E, T, M, S]) AddObserver(f func(E)) (late bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var one sync.Mutex // a worker and the producers beside it have a goroutine each that calls f
	r.observers = append(r.observers, func(e E) {
		one.Lock()
		defer one.Unlock()
		f(e)
	})
	return r.started
}

// Observers returns the subscribers given to AddObserver, in order.
func (r *Registry[C, E, T, M, S]) Observers() []func(E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.observers)
}

// AddMiddlewares adds middlewares, unless a worker or producer has already started: then
// it reports false, since instances may exist that they could not be around.
func (r *Registry[C, E, T, M, S]) AddMiddlewares(all ...M) (added bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return false
	}
	r.middlewares = append(r.middlewares, all...)
	return true
}

// Middlewares returns what was given to AddMiddlewares, in order.
func (r *Registry[C, E, T, M, S]) Middlewares() []M {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.middlewares)
}

// AddSetup adds a function for the start of a worker, unless a worker or producer has
// already started: then it reports false.
func (r *Registry[C, E, T, M, S]) AddSetup(f S, at string) (added bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return false
	}
	r.setups = append(r.setups, Setup[S]{f, at})
	return true
}

// Setups returns what was given to AddSetup, in order.
func (r *Registry[C, E, T, M, S]) Setups() []Setup[S] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.setups)
}

// SetTracer replaces the tracer.
func (r *Registry[C, E, T, M, S]) SetTracer(t T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tracer = t
}

// StartTracer starts the tracer and returns it; nil without one. Workers and standalone
// producers call it once they have their subscribers.
func (r *Registry[C, E, T, M, S]) StartTracer(c *config.Config, log *slog.Logger) (none T, err error) {
	r.mu.Lock()
	t := r.tracer
	r.started = true
	r.mu.Unlock()
	if any(t) == nil {
		return none, nil
	}
	if err := t.Start(c, log); err != nil {
		return none, err
	}
	return t, nil
}
