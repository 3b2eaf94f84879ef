package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/supervisor/fleet"
)

// exitWaiter waits for the exit of a process without a thread: a pidfd in the runtime's
// poller; nil where the kernel has none.
type exitWaiter struct {
	fd    int
	pidfd *os.File
}

// sysProcAttr: a session of its own, and CONT when we die, so that a stopped child sees
// the end of its socket and exits too.
func (p *execProcess) sysProcAttr() *syscall.SysProcAttr {
	p.exitWaiter.fd = -1
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGCONT, PidFD: &p.exitWaiter.fd}
}

// takeOver takes the process over from package os, which would reap it before its process
// group was killed.
func (p *execProcess) takeOver() error {
	p.pid = p.process.Pid
	if p.exitWaiter.fd < 0 {
		return nil
	}
	if err := unix.SetNonblock(p.exitWaiter.fd, true); err != nil {
		_ = unix.Close(p.exitWaiter.fd)
		return nil //nolint:nilerr // wait in a thread then
	}
	p.exitWaiter.pidfd = os.NewFile(uintptr(p.exitWaiter.fd), "pidfd")
	return p.process.Release()
}

// Wait waits for the exit. Before the process is reaped its group is killed: until then
// no other process can have its number.
func (p *execProcess) Wait() fleet.Exit {
	if p.exitWaiter.pidfd == nil {
		return p.waitInThread()
	}
	defer p.exitWaiter.pidfd.Close()
	raw, err := p.exitWaiter.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			var info unix.Siginfo
			err := ignoringEINTR(func() error {
				return unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			})
			return err != nil && !errors.Is(err, unix.EAGAIN) || info.Signo != 0
		})
	}
	if err != nil { // no poller for it: block
		_ = ignoringEINTR(func() error { return unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	var ws unix.WaitStatus
	err = ignoringEINTR(func() error { _, err := unix.Wait4(p.pid, &ws, 0, nil); return err })
	return exitOf(syscall.WaitStatus(ws), err)
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// bytesWaiting is the ioctl for the number of unread bytes in a socket.
const bytesWaiting = unix.TIOCINQ

// usage reads /proc.
func usage(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, err
	}
	st, err := parseStat(stat)
	if err != nil {
		return Usage{}, fmt.Errorf("%s/stat: %w", dir, err)
	}
	return Usage{RSS: st.rssPages * int64(os.Getpagesize()), Stopped: st.state == 'T'}, nil
}
