//go:build !linux

package spawn

import (
	"os/exec"
	"syscall"
)

// Spawner starts processes. Only Linux lets them end with a killed parent.
type Spawner struct{}

// New returns a Spawner, which must be closed.
func New() *Spawner { return &Spawner{} }

// Start starts cmd as the leader of a process group of its own, so that a Ctrl-C
// on the terminal does not reach it before its owner says so. What cmd.SysProcAttr
// says besides is kept.
func (*Spawner) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	return cmd.Start()
}

// Close does nothing here.
func (*Spawner) Close() {}
