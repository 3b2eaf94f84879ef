// Package registered is what the program has registered with package racecar, for the
// packages that run it.
package registered

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registry"
	"github.com/racecar-go/racecar/racecar"
)

// program is set by racecar's initialization, which comes before that of this package.
var program = registry.Shared[*registry.Registry[*racecar.Registration, racecar.Event, racecar.Tracer, func(racecar.Handler) racecar.Handler, setupFunc]]()

type setupFunc = func(context.Context, racecar.Runtime) (teardown func(context.Context) error, err error)

// Setup is a function given to racecar.Setup.
type Setup = registry.Setup[setupFunc]

// Consumers returns all registered consumers in order of their names.
func Consumers() []*racecar.Registration { return program.Consumers() }

// Lookup returns the consumer registered under name, or nil.
func Lookup(name string) *racecar.Registration { return program.Lookup(name) }

// Mistakes returns what is wrong with calls of racecar.Register, Use and Setup, a line each.
func Mistakes() []error { return program.Mistakes() }

// Configures returns the functions given to racecar.Configure, in order.
func Configures() []func(*config.Config) error { return program.Configures() }

// Observers returns the subscribers given to racecar.Observe, in order.
func Observers() []func(racecar.Event) { return program.Observers() }

// Middlewares returns those given to racecar.Use, in order.
func Middlewares() []func(racecar.Handler) racecar.Handler { return program.Middlewares() }

// Setups returns those given to racecar.Setup, in order.
func Setups() []Setup { return program.Setups() }

// StartTracer starts the tracer given to racecar.Trace and returns it; nil without one.
// A worker calls it once it has its subscribers: from then on a call of racecar.Observe
// is late.
func StartTracer(c *config.Config, log *slog.Logger) (racecar.Tracer, error) {
	return program.StartTracer(c, log)
}
