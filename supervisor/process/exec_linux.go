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

// handle waits for the exit of a process without a thread: a pidfd in the runtime's
// poller; nil where the kernel has none.
type handle struct {
	fd    int
	pidfd *os.File
}

// sysProcAttr: a session of its own, and CONT when we die, so that a stopped child sees
// the end of its socket and exits too.
func (p *execProcess) sysProcAttr() *syscall.SysProcAttr {
	p.handle.fd = -1
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGCONT, PidFD: &p.handle.fd}
}

// started takes the process over from package os, which would reap it before its process
// group was killed.
func (p *execProcess) started() error {
	p.pid = p.process.Pid
	if p.handle.fd < 0 {
		return nil
	}
	if err := unix.SetNonblock(p.handle.fd, true); err != nil {
		_ = unix.Close(p.handle.fd)
		return nil //nolint:nilerr // wait in a thread then
	}
	p.handle.pidfd = os.NewFile(uintptr(p.handle.fd), "pidfd")
	return p.process.Release()
}

// Wait waits for the exit. Before the process is reaped its group is killed: until then
// no other process can have its number.
func (p *execProcess) Wait() fleet.Exit {
	if p.handle.pidfd == nil {
		return p.waitInThread()
	}
	defer p.handle.pidfd.Close()
	raw, err := p.handle.pidfd.SyscallConn()
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

func (p *execProcess) Image() (Image, error) {
	return openImage("/proc/" + strconv.Itoa(p.pid) + "/exe")
}

func runningImage() (Image, error) { return openImage("/proc/self/exe") }

// heldImage is a file held open, started by its descriptor.
type heldImage struct {
	file *os.File
	name string
	stat unix.Stat_t
}

// openImage opens a program with O_PATH, which needs the permission to execute it but not
// to read it.
func openImage(path string) (Image, error) {
	low, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	fd := outOfTheWay(low)
	i := &heldImage{file: os.NewFile(uintptr(fd), path), name: path}
	if err := unix.Fstat(fd, &i.stat); err != nil {
		_ = i.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if i.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = i.Close()
		return nil, fmt.Errorf("%s is not a program", path)
	}
	if real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
		i.name = real
	}
	return i, nil
}

// outOfTheWay moves a descriptor to a number far above those of other files.
// Between fork and exec the child places its files at their numbers and, temporarily, at
// some just above: an image there would be closed before it could be executed.
func outOfTheWay(fd int) int {
	for _, least := range []int{1000, 200} { // as the limit allows
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least)
		if err == nil {
			_ = unix.Close(fd)
			return high
		}
	}
	return fd
}

func (i *heldImage) path() string   { return "/proc/self/fd/" + strconv.Itoa(int(i.file.Fd())) }
func (i *heldImage) String() string { return i.name }
func (i *heldImage) Close() error   { return i.file.Close() }

func (i *heldImage) Same(other Image) bool {
	o, ok := other.(*heldImage)
	return ok && i.stat.Dev == o.stat.Dev && i.stat.Ino == o.stat.Ino && i.stat.Size == o.stat.Size && i.stat.Mtim == o.stat.Mtim
}
