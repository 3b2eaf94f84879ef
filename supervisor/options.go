package supervisor

import (
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
)

// Options say what to supervise and how. Plan, Spawner and Log are required.
type Options struct {
	// Plan is what to run; its Error is empty and it names at least one consumer.
	Plan wire.Plan
	// Spawner starts the processes: NewExec. New takes it over; Run closes it.
	Spawner Spawner
	// PlanArgv is the command line of the start, argv[0] as typed. A restart runs
	// the program found under that name with it, as wire.RolePlan.
	PlanArgv []string
	// Nonce goes into the instance ids of membership run. Empty: one is drawn.
	Nonce string

	// Log is written to by one goroutine, never by the loop.
	Log logrus.FieldLogger
	// Stderr takes what workers write to theirs, and the answer to USR1. Nil:
	// os.Stderr.
	Stderr io.Writer
	// LogReopen opens the log file again, after it was renamed. Nil: nothing to do.
	LogReopen func() error
	// SetLogLevel changes the level of Log. Nil: only workers change.
	SetLogLevel func(level string) error
	// PrintConfig writes a consumer's configuration with the source of each value,
	// for USR1. Nil: the supervisor prints nothing, its workers do.
	PrintConfig func(io.Writer, wire.Consumer)

	// Signals delivers them: signals.Listen. Nil: none.
	Signals <-chan os.Signal
	// Terminal says that we were started on one: then HUP is TERM.
	Terminal bool
	// PID1 says that orphans become our children and have to be reaped.
	PID1 bool
	// OnReady is called once by the loop, when all workers have been heard of. It
	// must not block.
	OnReady func()

	// Pidfile and Socket are for the status only.
	Pidfile, Socket string
}

// Progress is one step of something long, for whoever watches.
type Progress struct {
	At     time.Time `json:"at"`
	Worker string    `json:"worker,omitempty"` // empty: about the whole
	Step   string    `json:"step"`             // a state, or "restarting", "restarted", "done", "failed", …
	Detail string    `json:"detail,omitempty"`
}
