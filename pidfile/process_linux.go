package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is a pidfd: it means one process, also when its number is reused. On kernels
// without pidfds (before 5.3) it is the number.
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

// ended reports whether the process has exited: then a pidfd is readable, reaped or not.
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

// startOf is when a process began; ESRCH: it has exited.
func startOf(pid int) (time.Time, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return time.Time{}, err
	}
	// The name, in parentheses, may have anything in it; the start is the 20th field
	// after it, in hundredths of a second since boot.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	if fields[0][0] == 'Z' {
		return time.Time{}, unix.ESRCH
	}
	ticks, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	age := time.Duration(up.Nano()) - time.Duration(ticks)*10*time.Millisecond
	return time.Now().Add(-age), nil
}

// programOf is the beginning of a process's command line.
func programOf(pid int) string {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	line = bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	return string(bytes.ToValidUTF8(line[:min(len(line), 80)], []byte("?")))
}
