package supervisor

import (
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/wire"
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

	// OnEvent is told by the loop what becomes of workers. It must not block. Nil:
	// nobody is.
	OnEvent func(Event)

	// Pidfile, Socket and Dir, where it was started, are for the status only.
	Pidfile, Socket, Dir string
}

// EventKind says what Event is about.
type EventKind string

// The kinds of events.
const (
	WorkerStarted EventKind = "started"  // PID
	WorkerExited  EventKind = "exited"   // PID, Reason, Ordered, Detail
	WorkerGivenUp EventKind = "given up" // Detail; Index -1: all of the consumer's
)

// Event is something that happened to a worker.
type Event struct {
	Kind     EventKind
	Consumer string
	Index    int
	PID      int
	Reason   string // as in status.Status.RestartsBy: "crash", "oom", "restart", …
	Ordered  bool   // it was asked to end, and did so
	Detail   string // one line
}

// Progress is one step of something long, for whoever watches.
type Progress struct {
	At     time.Time `json:"at"`
	Worker string    `json:"worker,omitempty"` // empty: about the whole
	Step   string    `json:"step"`             // a state, or "restarting", "restarted", "done", "failed", …
	Detail string    `json:"detail,omitempty"`
}
