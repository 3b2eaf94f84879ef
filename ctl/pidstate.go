package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// probe asks the kernel who holds a pidfile's lock.
func probe(path string) (state string, pid int, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stateExited, 0, nil
	case err != nil:
		return "", 0, fmt.Errorf("pidfile: %w", err)
	}
	defer func() { _ = f.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return "", 0, fmt.Errorf("pidfile %q: %w", path, err)
	}
	if lock.Type == unix.F_UNLCK || lock.Pid <= 0 {
		return stateDead, 0, nil
	}
	if errors.Is(unix.Kill(int(lock.Pid), 0), unix.EPERM) {
		return stateNotOwned, int(lock.Pid), nil
	}
	return stateRunning, int(lock.Pid), nil
}
