// Package process starts and observes real processes for the supervisor: exec,
// sockets, stderr, and what /proc knows. It decides nothing.
// It is not covered by the compatibility promise.
package process

import (
	"io"
	"syscall"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// Image is an executable, held open so that it can be started again after its file was
// replaced, half-copied or deleted.
type Image interface {
	// Same reports whether the other one is the same file with the same content, judged
	// by inode, size and time of change.
	Same(Image) bool
	// String names it for the log.
	String() string
	Close() error
}

// Spec says how to start a child.
type Spec struct {
	Role wire.Role
	// Argv of the child. A worker's has its title as its only element.
	Argv []string
	// Image to start; never nil.
	Image Image
	// Env is added to the environment of the start.
	Env []string
	// Slots of the scoreboard; 0: none.
	Slots int
}

// Usage is what the system reports about a process.
type Usage struct {
	RSS     int64 // bytes
	Stopped bool  // by SIGSTOP or its like
}

// Spawner starts processes. The real one is made by New; tests have fakes.
type Spawner interface {
	// Spawn starts a child.
	Spawn(Spec) (Process, error)
	// Find finds the program again, as it was typed on the command line.
	Find() (Image, error)
	// CurrentImage is the image of this process.
	CurrentImage() (Image, error)
	// OutOfMemoryKills is how many processes of our cgroup the kernel killed because
	// there was no memory (oom_kill); ok is false where that is unknown.
	OutOfMemoryKills() (n uint64, ok bool)
	// Close releases what Spawn needs; all processes have exited.
	Close() error
}

// Process is a child that was started. Its methods may be called at any time, also after
// its exit, from several goroutines; Wait and Close once each.
type Process interface {
	PID() int
	// Socket is our end of its socketpair.
	Socket() io.ReadWriteCloser
	// HasUnread reports whether the socket has messages that nobody has read yet.
	HasUnread() bool
	// Signal sends sig, unless the process was already reaped. SIGKILL goes to
	// all that the process has started as well, unless they made sessions of
	// their own.
	Signal(sig syscall.Signal) error
	// Wait waits for the exit and reaps. Remaining processes of its process group are killed
	// first.
	Wait() fleet.Exit
	// InHand are the calls in its scoreboard, also after its exit.
	InHand() []scoreboard.Call
	// Work is what it has done according to its scoreboard, also after its exit.
	Work() status.Work
	// CountUnknownMessage counts a message that it sent in its scoreboard, if it has one.
	CountUnknownMessage()
	// Usage asks the system.
	Usage() (Usage, error)
	// Image is the executable that the process really runs.
	Image() (Image, error)
	// Stderr is the end of its stderr, and the line that explains most: that of a panic
	// or fatal error, else the last one.
	Stderr() (tail, headline string)
	// Close frees socket, scoreboard and stderr, after Wait.
	Close() error
}
