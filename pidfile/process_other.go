//go:build !linux

package pidfile

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// process is a number: it could be reused between the query for the holder of the lock and
// a signal.
type process struct{ pid int }

func openProcess(pid int) (process, error) { return process{pid}, unix.Kill(pid, 0) }

func (p process) signal(sig unix.Signal) error { return unix.Kill(p.pid, sig) }

func (p process) ended() bool { return errors.Is(unix.Kill(p.pid, 0), unix.ESRCH) }

func (p process) close() {}

// startOf is not known here.
func startOf(int) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }

func programOf(int) string { return "" }
