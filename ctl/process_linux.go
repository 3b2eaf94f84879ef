package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// process is another process, held by a pidfd: its number may be given to
// another meanwhile, the pidfd stays with this one.
type process struct{ fd, pid int }

// openProcess takes hold of a process. Whether it is the one meant has to be
// asked again afterwards.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{fd: fd, pid: pid}, nil
}

// signal sends a signal; a process that is gone is none of its errors.
func (p *process) signal(s unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, s, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// wait returns nil once the process is gone, reaped or not.
func (p *process) wait(ctx context.Context) error {
	const step = 100 * time.Millisecond // how soon the end of ctx is seen
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(step/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", p.pid, err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func (p *process) close() { _ = unix.Close(p.fd) }
