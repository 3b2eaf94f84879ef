package fleet

import (
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// ProcID identifies a process for as long as the supervisor lives. A Spawn has it first.
type ProcID uint64

// Event is something that happened. A Ref in it names whoever waits for an Answer; 0
// means nobody.
type Event interface{ apply(*Fleet) }

// The events of processes. Those of a process that is not known are ignored.
type (
	// Spawned answers a Spawn.
	Spawned struct {
		Proc ProcID
		PID  int
	}
	// SpawnFailed answers a Spawn. Temporary: the system may have what it lacked later.
	SpawnFailed struct {
		Proc      ProcID
		Err       error
		Temporary bool
	}
	// FrameReceived is a sign of life.
	FrameReceived struct {
		Proc  ProcID
		Frame wire.Frame
	}
	// MembersChanged are all memberships of a worker, after each change.
	MembersChanged struct {
		Proc    ProcID
		Members []status.Member
	}
	// ExitReasonReceived is why a worker is about to exit.
	ExitReasonReceived struct {
		Proc   ProcID
		Reason wire.ExitReason
	}
	// ReportReceived answers a status command.
	ReportReceived struct {
		Proc   ProcID
		Report status.Report
	}
	// OutageReported is what a worker holds because a dependency is unavailable.
	OutageReported struct {
		Proc   ProcID
		Outage wire.Outage
	}
	// ProbeEnded gives a lease back.
	ProbeEnded struct {
		Proc   ProcID
		Probed wire.Probed
	}
	// ProtocolViolated says that a process sends what is not our protocol.
	ProtocolViolated struct {
		Proc ProcID
		Err  error
	}
	// Exited is the end of a process, with all that is known of it.
	Exited struct {
		Proc   ProcID
		Exit   Exit
		OOM    bool // the kernel killed it because there was no memory
		InHand []scoreboard.Call
		Work   status.Work
		Stderr string // the end of it
		// Headline is the line of Stderr that explains most: that of a panic or fatal
		// error, else the last one.
		Headline string
	}
)

// The events of time.
type (
	// Tick makes the fleet do what is due. Of Observed and Tick at the same time Observed
	// comes first, so that nobody is killed for what is over.
	Tick struct{}
	// Observed is what was seen of all processes from outside. It comes once every
	// ObserveEvery.
	Observed []Observation
	// Counted is what processes have done so far.
	Counted map[ProcID]status.Work
	// Suspended says that the supervisor itself did not run for that long: silence in
	// that time counts against no worker.
	Suspended time.Duration
)

// Observation is what was seen of one process.
type Observation struct {
	Proc   ProcID
	InHand []scoreboard.Call
	// Received is when its socket last had something for us, Unread that it still has.
	Received time.Time
	Unread   bool
	Stopped  bool  // by a signal; asked of those that have been silent for LeastSilence
	RSS      int64 // 0: not asked
}

// The events of operators.
type (
	// Start starts all workers.
	Start struct{}
	// Shutdown stops everything. A second one with Force, or with Signal after a moment,
	// kills what is left.
	Shutdown struct {
		Grace       time.Duration // 0: shutdown_timeout
		Force       bool          // kill at once
		LeaveGroups bool          // remove the members also with membership host
		Signal      bool
	}
	// MembersRemoved is the end of a final RemoveMembers.
	MembersRemoved struct{}
	// Scale sets the number of workers of a consumer; its name may be empty when there
	// is one. It is answered once that many have settled, or never will.
	Scale struct {
		Ref      uint64
		Consumer string
		Workers  int
	}
	// ScaleBy changes the number of workers of each consumer.
	ScaleBy int
	// Rollout replaces the workers one by one with what a plan describes. It is answered
	// at its end.
	Rollout struct {
		Ref       uint64
		Plan      wire.Plan
		Image     Image
		Only      string // a consumer; empty: all
		IfChanged bool   // only what differs; ErrNothingChanged when nothing does
		NewGroup  bool   // also to another group
	}
	// Quiet makes a consumer (empty: all) take no new messages, or take them again.
	Quiet struct {
		Ref      uint64
		Consumer string
		On       bool
	}
	// Pause pauses partitions of a consumer (empty: all); Partition -1: the whole topic.
	Pause struct {
		Ref        uint64
		Consumer   string
		Partitions []wire.Partition
	}
	// Resume ends Pause. SkipBatch: behind a batch that cannot be decoded.
	Resume struct {
		Ref        uint64
		Consumer   string
		Partitions []wire.Partition
		SkipBatch  bool
	}
	// SetLogLevel changes the log level of workers, also of those to come.
	SetLogLevel struct {
		Ref   uint64
		Level string
	}
	// Broadcast sends a command to all processes.
	Broadcast struct {
		Ref     uint64
		Command wire.Command
	}
	// RequestReports sends a status command to all workers that run.
	RequestReports struct{ Ref uint64 }
)
