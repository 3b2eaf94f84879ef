//go:build !linux

package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// process is another process, known by its number alone here.
type process struct{ pid int }

func openProcess(pid int) (*process, error) {
	if err := unix.Kill(pid, 0); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{pid: pid}, nil
}

func (p *process) signal(s unix.Signal) error {
	err := unix.Kill(p.pid, s)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// wait returns nil once the process is gone; nothing tells us, so it is asked.
func (p *process) wait(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := unix.Kill(p.pid, 0); errors.Is(err, unix.ESRCH) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (p *process) close() {}
