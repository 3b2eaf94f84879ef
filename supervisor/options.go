package supervisor

import (
	"io"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// Options say what to supervise and how. Plan, Spawner and Log are required.
type Options struct {
	// Plan is what to run; its Error is empty and it names at least one consumer.
	Plan wire.Plan
	// Spawner starts the processes: process.New. New takes it over; Run closes it.
	Spawner process.Spawner
	// PlanArgv is the command line of the start, argv[0] as typed. A restart runs
	// the program found under that name with it, as wire.RolePlan.
	PlanArgv []string
	// Nonce goes into the instance ids of membership run. Empty: one is drawn.
	Nonce string

	// Log is written to by the loop, so it must not block.
	Log logrus.FieldLogger
	// LogProblem says in one line that the log is not being read; empty: it is. Nil:
	// nobody knows.
	LogProblem func() string
	// AppMetrics holds the metrics of consumer code, which the workers send. Nil: they are
	// not kept.
	AppMetrics *appmetrics.Store
	// Stderr takes what workers write to theirs, and the answer to USR1. Nil:
	// os.Stderr.
	Stderr io.Writer
	// OnReload is called by the loop at HUP, to open log files anew. It must not
	// block. Nil: nothing to do.
	OnReload func()
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
	// OnReady is called once by the loop, when all workers are up. It
	// must not block.
	OnReady func()

	// OnEvent is called by the loop with what happens to workers. It must not block. Nil:
	// nobody wants to know.
	OnEvent func(fleet.WorkerEvent)

	// Pidfile, Socket and Dir, where it was started, are for the status only.
	Pidfile, Socket, Dir string
}
