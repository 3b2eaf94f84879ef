package cluster

import (
	"os/exec"
	"runtime"
	"syscall"
)

// spawner starts processes that end with this one, however it ends.
//
// The kernel sends the parent-death signal when the *thread* that started the
// child ends (golang/go#27505), so all are started from one thread that lives
// until Close.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// Start starts cmd in a process group of its own, so that a Ctrl-C on the
// terminal does not reach it before its owner says so.
func (s *spawner) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

// Close ends the thread, and with it whatever it started that still runs.
func (s *spawner) Close() { close(s.work) }
