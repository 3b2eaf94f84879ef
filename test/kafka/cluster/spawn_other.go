//go:build !linux

package cluster

import (
	"os/exec"
	"syscall"
)

// spawner starts processes. Only Linux lets them end with a killed parent.
type spawner struct{}

func newSpawner() *spawner { return &spawner{} }

// Start starts cmd in a process group of its own, so that a Ctrl-C on the
// terminal does not reach it before its owner says so.
func (*spawner) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// Close does nothing here.
func (*spawner) Close() {}
