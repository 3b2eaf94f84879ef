package worker

import (
	"context"
	"io"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
)

// Options are what a worker is made of.
type Options struct {
	// Conn leads to the supervisor; nil runs the worker by itself (--inline).
	Conn *wire.Conn
	// Watch has the worker judge calls that take longer than max_poll_interval, as without
	// Conn: what is at its other end does not.
	Watch bool
	// Board is shared with the supervisor; nil makes a private one.
	Board *scoreboard.Board
	// Handshake says which worker this is.
	Handshake wire.Handshake
	// Lookup finds a registered consumer; nil when there is none of that name.
	Lookup func(name string) *racecar.Registration
	// Log is the worker's logger; its identity (consumer, worker, pid) is attached here.
	Log *logrus.Logger
	// Emit receives events; nil when nobody listens. It must be safe for concurrent
	// use and contain panics of its observers.
	Emit func(racecar.Event)
	// EmitStarts says that Emit wants StartProcessMessageEvent and
	// StartProcessBatchEvent as well, which cost an allocation for each call.
	EmitStarts bool
	// Middlewares are around the calls of each instance, the first one outermost; those of
	// the consumer's Spec are inside.
	Middlewares []func(racecar.Handler) racecar.Handler
	// Setups run before the first constructor, what they return after the last Teardown.
	Setups []registered.Setup
	// Mistakes returns what the program has registered wrongly; nil: nobody asks. A mistake
	// that is made after the start ends the worker permanently.
	Mistakes func() []error
	// Tracer makes spans, once started; nil: nobody does.
	Tracer racecar.Tracer
	// PrintConfig writes the effective configuration (USR1); nil: not offered.
	PrintConfig func(w io.Writer)
	// SetLogLevel changes the level of the process's log; nil: not offered.
	SetLogLevel func(level string) error
	// LogProblem says in one line that the log is not being read; nil: it is.
	LogProblem func() string
	// Reopen opens the log file again (HUP); nil: nothing to reopen.
	Reopen func() error
	// Context is the parent of the ctx of each call, for its values; nil: none.
	Context context.Context
	// Stderr is where configuration goes; nil: os.Stderr.
	Stderr io.Writer

	clock *clock // of tests; nil: the system's
}

func (o *Options) base() context.Context {
	if o.Context != nil {
		return o.Context
	}
	return context.Background()
}
