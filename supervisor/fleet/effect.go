package fleet

import (
	"log/slog"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// Effect is something for the caller of Step to do, in the order of the slice.
type Effect any

// The effects.
type (
	// Spawn starts a process and sends it the handshake. Spawned or SpawnFailed answers.
	Spawn struct {
		Proc      ProcID
		Worker    string // `UserBanConsumer[2]`
		Image     Image
		Handshake wire.Handshake
	}
	// Handshake gives the slot to a process that stands by.
	Handshake struct {
		Proc      ProcID
		Handshake wire.Handshake
	}
	// Command is for a process. Its reply, or the end of the process, counts towards the
	// answer to Ref; 0: nobody waits for it.
	Command struct {
		Proc    ProcID
		Command wire.Command
		Ref     uint64
	}
	// Lease allows a process one probe of a dependency.
	Lease struct {
		Proc  ProcID
		Lease wire.Lease
	}
	// OutageState tells a process how an outage goes on.
	OutageState struct {
		Proc  ProcID
		State wire.OutageState
	}
	// Signal is for a process.
	Signal struct {
		Proc   ProcID
		Signal syscall.Signal
	}
	// RemoveMembers removes members of workers that are gone from their groups.
	RemoveMembers struct {
		Consumer wire.Consumer
		Image    Image
		Members  []status.Member
		Within   time.Duration
		Final    bool // at the end of a shutdown: MembersRemoved is awaited
	}
	// PrepareRemoval says that a final RemoveMembers of that consumer follows.
	PrepareRemoval struct {
		Consumer wire.Consumer
		Image    Image
	}
	// CloseImage says that no release refers to an image any more.
	CloseImage struct{ Image Image }
	// Log is a line of the log.
	Log struct {
		Level   slog.Level
		Message string
		Fields  map[string]any
	}
	// Progress is one step of something long, for whoever watches.
	Progress struct {
		Time   time.Time `json:"at"`
		Worker string    `json:"worker,omitempty"` // empty: about the whole
		Step   string    `json:"step"`             // a state, or "restarting", "restarted", "done", "failed", …
		Detail string    `json:"detail,omitempty"`
	}
	// WorkerEvent is something that happened to a worker, for subscribers.
	WorkerEvent struct {
		Kind     EventKind
		Consumer string
		Index    int
		PID      int
		Reason   string // as in status.Status.RestartsBy: "crash", "oom", "restart", …
		Graceful bool   // it was asked to stop, and did
		Detail   string // one line
	}
	// Answer ends what the event with that Ref asked for. Commands with that Ref that
	// came before still have to be replied to.
	Answer struct {
		Ref uint64
		Err error
	}
	// Ready is the supervisor's readiness. It comes once.
	Ready struct{}
	// Stopping is the beginning of a shutdown.
	Stopping struct{}
	// RolloutEnded makes room for another one.
	RolloutEnded struct{}
	// Finished is the end of the fleet: no process is left.
	Finished struct {
		Code int
		Err  error
	}
)

// EventKind is what a WorkerEvent is about.
type EventKind string

// The kinds of events.
const (
	WorkerStarted            EventKind = "started"             // PID
	WorkerExited             EventKind = "exited"              // PID, Reason, Graceful, Detail
	WorkerStoppedPermanently EventKind = "stopped permanently" // Detail; Index -1: all of the consumer's
)
