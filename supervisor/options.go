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
	// LogProblem reports in one line that nobody reads the log; empty: it is read. May be
	// nil.
	LogProblem func() string
	// AppMetrics holds the metrics of consumer code, which the workers send. Nil: they are
	// not kept.
	AppMetrics *appmetrics.Store
	// Stderr receives the stderr of workers, and the answer to USR1. Nil: os.Stderr.
	Stderr io.Writer
	// OnReload is called by the loop at HUP, to reopen log files. It must not block.
	OnReload func()
	// SetLogLevel changes the level of Log. Nil: only workers change.
	SetLogLevel func(level string) error
	// PrintConfig writes a consumer's configuration with the source of each value, for
	// USR1. Nil: only workers print theirs.
	PrintConfig func(io.Writer, wire.Consumer)

	// Signals delivers them: signals.Listen. Nil: none.
	Signals <-chan os.Signal
	// Terminal: the supervisor was started on one, so HUP means TERM.
	Terminal bool
	// PID1: orphans become our children and have to be reaped.
	PID1 bool
	// OnReady is called once by the loop, when all workers are up. It must not block.
	OnReady func()

	// OnEvent is called by the loop with the events of workers. It must not block. May be
	// nil.
	OnEvent func(fleet.WorkerEvent)

	// Pidfile, Socket and Dir, where it was started, are for the status only.
	Pidfile, Socket, Dir string
}
