package pidfile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// process is a pidfd: it means one process, also when its number is used again.
// On kernels without it (before 5.3) it is the number.
type process struct {
	pid int
	fd  int // -1: none
}

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return process{pid, -1}, nil
	}
	return process{pid, fd}, err
}

func (p process) signal(sig unix.Signal) error {
	if p.fd < 0 {
		return unix.Kill(p.pid, sig)
	}
	return unix.PidfdSendSignal(p.fd, sig, nil, 0)
}

// ended: a pidfd is readable from its process's end on, reaped or not.
func (p process) ended() bool {
	if p.fd < 0 {
		return errors.Is(unix.Kill(p.pid, 0), unix.ESRCH)
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

func (p process) close() {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
	}
}
