package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// Options say how children are started.
type Options struct {
	// Program as typed on the command line; a restart looks it up again. Empty:
	// os.Args[0].
	Program string
	// Dir is where relative names are looked up and where children run: the working
	// directory of the start, as it was typed. If it is a link to a release, a child
	// runs in the release that the link names when the child is started. A daemon itself
	// may be elsewhere. Empty: the current directory.
	Dir string
	// Env of the children. Nil: this process's.
	Env []string
	// Stdout of the children. Nil: this process's.
	Stdout *os.File
	// Stderr receives the stderr of children, unchanged. Nil: os.Stderr.
	Stderr io.Writer
}

// OSSpawner starts this program as a child. Make it with New.
//
// A child is the leader of a session of its own: keys at a terminal (Ctrl-C, Ctrl-\,
// Ctrl-Z) and the terminal's hang-up reach the supervisor alone, and a child may write to
// the terminal without being stopped. Its stdin is empty, its stdout ours, its stderr an
// anonymous file (see capture).
type OSSpawner struct {
	opts   Options
	stderr *pump
	// startedAs names the file that this process was started from; empty: unknown.
	startedAs string
	// forks carries functions to one thread that lives as long as we do: Linux
	// ties a child's parent-death signal to the thread that started it.
	forks chan func()
	null  *os.File
	once  sync.Once
}

// New prepares to start processes. Close releases what that takes.
func New(o Options) (*OSSpawner, error) {
	if o.Program == "" {
		o.Program = os.Args[0]
	}
	if o.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		}
		o.Dir = dir
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	ownEnv := []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} // systemd's, for this process alone
	o.Env = slices.DeleteFunc(slices.Clone(o.Env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(ownEnv, name) || name == wire.EnvRole
	})
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	e := &OSSpawner{opts: o, forks: make(chan func()), null: null, stderr: newPump(o.Stderr)}
	if e.startedAs, err = startedAs(); err != nil {
		e.startedAs = "" // Find does without, and reports a program that it does not find
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for f := range e.forks {
			f()
		}
	}()
	return e, nil
}

// Close ends the thread and flushes stderr. All children have exited.
func (e *OSSpawner) Close() error {
	e.once.Do(func() {
		close(e.forks)
		e.stderr.close(time.Second)
	})
	return e.null.Close()
}

// CurrentImage opens the image of this process.
func (e *OSSpawner) CurrentImage() (Image, error) { return currentImage() }

// Find finds the program as it was typed: a name with a slash is a path from
// Dir, another one is looked up in PATH again. A name that
// is not found was given to the process, as `exec -a` does in the systemd units that
// Foreman exports: then Find returns the file that was started.
func (e *OSSpawner) Find() (Image, error) {
	path := e.opts.Program
	if !strings.ContainsRune(path, filepath.Separator) {
		found, err := exec.LookPath(path)
		if errors.Is(err, exec.ErrNotFound) && e.startedAs != "" {
			found, err = e.startedAs, nil
		}
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return nil, fmt.Errorf("look for the program: %w", err)
		}
		path = found
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.opts.Dir, path)
	}
	image, err := openImage(path)
	if err == nil && isScript(path) {
		_ = image.Close()
		return nil, fmt.Errorf("%s is a script now: put the program itself in its place", path)
	}
	return image, err
}

// isScript reports whether a file begins with #!. Its interpreter would receive the name
// of a descriptor of ours.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // a program may be executable and not readable
	}
	defer f.Close()
	begin := make([]byte, 2)
	_, err = io.ReadFull(f, begin)
	return err == nil && string(begin) == "#!"
}

// Spawn starts a child.
func (e *OSSpawner) Spawn(spec Spec) (Process, error) {
	p := &execProcess{}
	ok := false
	defer func() {
		if !ok {
			_ = p.Close()
		}
	}()
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	defer theirs.Close()
	p.socket = ours
	files := []*os.File{e.null, e.opts.Stdout, nil, theirs}
	if spec.Slots > 0 {
		f, board, err := scoreboard.Create(spec.Slots)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		p.board = board
		files = append(files, f)
	}
	if p.stderr, err = newCapture(); err != nil {
		return nil, fmt.Errorf("stderr: %w", err)
	}
	files[2] = p.stderr.file
	attr := &os.ProcAttr{
		Env:   append(slices.Concat(e.opts.Env, spec.Env), wire.EnvRole+"="+string(spec.Role)),
		Files: files,
		Sys:   p.sysProcAttr(),
	}
	if attr.Dir, err = e.dir(spec.Role); err != nil {
		return nil, err
	}
	path := spec.Image.(interface{ path() string }).path()
	started := make(chan error)
	e.forks <- func() {
		proc, err := os.StartProcess(path, spec.Argv, attr)
		p.process = proc
		started <- err
	}
	if err := <-started; err != nil {
		return nil, err
	}
	if err := p.takeOver(); err != nil {
		return nil, err
	}
	e.stderr.add(p.stderr)
	p.pump = e.stderr
	ok = true
	return p, nil
}

// dir is where a child runs. Without the directory, workers run where the supervisor does;
// a plan child is refused, because it would load another configuration.
func (e *OSSpawner) dir(role wire.Role) (string, error) {
	_, err := os.Stat(e.opts.Dir)
	switch {
	case err == nil:
		return e.opts.Dir, nil
	case role == wire.RolePlan:
		return "", fmt.Errorf("the working directory of the start, %s, cannot be used: %w", e.opts.Dir, errors.Unwrap(err))
	}
	e.stderr.writeLine(fmt.Sprintf("racecar: the working directory of the start cannot be used: %v; workers run where the supervisor does\n", err))
	return "", nil
}

// socketpair returns our end, ready for deadlines and Close from elsewhere, and
// the child's.
func socketpair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "worker socket"), os.NewFile(uintptr(fds[1]), "socket"), nil
}

// execProcess is a real process.
type execProcess struct {
	process    *os.Process
	pid        int
	socket     *os.File
	board      *scoreboard.Board // nil: none
	stderr     *capture
	pump       *pump
	exitWaiter exitWaiter

	mu     sync.Mutex // guards reaped against signals, and board against Close
	reaped bool
}

func (p *execProcess) PID() int                   { return p.pid }
func (p *execProcess) Socket() io.ReadWriteCloser { return p.socket }

// Stderr first reads what the process has written since the pump last did.
func (p *execProcess) Stderr() (tail, headline string) {
	p.pump.flushNow(p.stderr)
	return p.stderr.tail(), p.stderr.headline()
}

func (p *execProcess) HasUnread() bool {
	raw, err := p.socket.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), bytesWaiting) }); err != nil {
		return false
	}
	return n > 0
}

func (p *execProcess) InHand() []scoreboard.Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.board == nil {
		return nil
	}
	return p.board.InHand()
}

func (p *execProcess) Work() status.Work {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.board == nil {
		return status.Work{}
	}
	return p.board.Counters().Work()
}

func (p *execProcess) CountUnknownMessage() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.board != nil {
		p.board.Counters().Add(scoreboard.UnknownMessages, 1)
	}
}

func (p *execProcess) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	if sig == syscall.SIGKILL {
		// Its process group, which has its number as long as it is not reaped.
		if err := syscall.Kill(-p.pid, sig); err == nil {
			return nil
		}
	}
	return syscall.Kill(p.pid, sig)
}

func (p *execProcess) Usage() (Usage, error) { return usage(p.pid) }

func (p *execProcess) Close() error {
	p.mu.Lock()
	board := p.board
	p.board = nil
	p.mu.Unlock()
	var errs []error
	if p.socket != nil {
		if err := p.socket.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if board != nil {
		errs = append(errs, board.Close())
	}
	if p.stderr != nil {
		if p.pump != nil {
			p.pump.remove(p.stderr)
		}
		errs = append(errs, p.stderr.close())
	}
	return errors.Join(errs...)
}
