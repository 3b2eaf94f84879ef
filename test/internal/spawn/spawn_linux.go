package spawn

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Spawner starts processes that are killed when this one ends, however it ends.
//
// The kernel sends the parent-death signal when the *thread* that started the
// child ends (golang/go#27505), so all are started from one thread that lives
// until Close.
type Spawner struct{ work chan func() }

// New returns a Spawner, which must be closed.
func New() *Spawner {
	s := &Spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// Start starts cmd as the leader of a session of its own, so that neither a Ctrl-C
// nor the terminal itself, which a supervisor would notice, reaches it. What
// cmd.SysProcAttr says besides is kept.
func (s *Spawner) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	s.work <- func() { started <- cmd.Start() }
	return <-started
}

// Close ends the thread, and with it whatever it started that still runs.
func (s *Spawner) Close() { close(s.work) }
