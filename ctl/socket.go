package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dialTimeout bounds a connect to a unix socket: it is immediate unless the
// listener's backlog is full.
const dialTimeout = 2 * time.Second

// maxSocketPath is the longest path a socket address takes everywhere (macOS:
// 104 bytes with the final zero; Linux 108). Longer ones go through the
// directory's descriptor where the system allows it.
const maxSocketPath = 103

// SocketBeside is the control socket that goes with a pidfile.
func SocketBeside(pidfile string) string {
	return strings.TrimSuffix(pidfile, ".pid") + ".sock"
}

// Listener is a control socket: mode 0600, and only processes of the same user
// and root get past Accept.
type Listener struct {
	path string
	// folder makes the socket's folder if it is ours to make.
	folder func() error

	mu     sync.Mutex
	now    *bound // what is listened at; Restore changes it
	closed bool
	err    error // of Close
}

// bound is a socket that was made at the path.
type bound struct {
	net.Listener
	own fs.FileInfo // of the socket as made: what Close may remove
}

// Listen makes the control socket at path. A left-over of a dead process is
// replaced; a socket that answers, and a file of any other kind, is an error.
func Listen(path string) (*Listener, error) {
	return listenAt(path, func() error { return nil })
}

func listenAt(path string, folder func() error) (*Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l := &Listener{path: path, folder: folder}
	if l.now, err = l.bind(); err != nil {
		return nil, err
	}
	return l, nil
}

// bind makes the socket. It is bound under another name and moved to its path once
// it listens, so that a socket at the path that refuses connections is always a
// left-over.
func (l *Listener) bind() (*bound, error) {
	if err := l.folder(); err != nil {
		return nil, err
	}
	dir := filepath.Dir(l.path)
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("control socket %q: %w", l.path, err)
	}
	defer unlock()
	if err := vacant(l.path); err != nil {
		return nil, err
	}
	temporary := filepath.Join(dir, fmt.Sprintf(".racecar-%d.sock", os.Getpid()))
	_ = os.Remove(temporary) // of a dead process that had our pid: the directory is locked
	lc := net.ListenConfig{Control: ownerOnly}
	var ln net.Listener
	err = reach(temporary, func(address string) error {
		ln, err = lc.Listen(context.Background(), "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket %q: %w", l.path, plainNetError(err))
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // its name changes, and Close looks first
	own, err := install(temporary, l.path)
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(temporary)
		return nil, fmt.Errorf("control socket %q: %w", l.path, err)
	}
	return &bound{ln, own}, nil
}

func install(temporary, path string) (fs.FileInfo, error) {
	// Where the mode set before bind does not count (BSDs).
	if err := os.Chmod(temporary, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// Path is where the socket is.
func (l *Listener) Path() string { return l.path }

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

func (l *Listener) current() *bound {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// Restore recreates the socket when it was removed from its path, as cleaners of
// temporary folders do, and reports whether it did.
func (l *Listener) Restore() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, nil
	}
	if there, err := os.Lstat(l.path); err == nil && os.SameFile(there, l.now.own) {
		return false, nil
	}
	fresh, err := l.bind()
	if err != nil {
		return false, err
	}
	old := l.now
	l.now = fresh // before old is closed: Accept goes on with it
	return true, old.Close()
}

// Accept returns the next connection of this user or root. Its RemoteAddr is the
// process at the other end, so that the log can say who gave an order.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		at := l.current()
		c, err := at.Accept()
		switch {
		case err != nil && at != l.current():
			continue // Restore has closed it
		case err != nil:
			return nil, err
		}
		if uid, ok := peerUID(c); !ok || uid == 0 || uid == os.Geteuid() {
			if pid, ok := peerPID(c); ok {
				return &ofProcess{c, pid}, nil
			}
			return c, nil
		}
		_ = c.Close()
	}
}

// ofProcess is a connection whose other end is known.
type ofProcess struct {
	net.Conn
	pid int
}

// RemoteAddr names the process.
func (c *ofProcess) RemoteAddr() net.Addr { return processAddr(c.pid) }

type processAddr int

func (processAddr) Network() string  { return "unix" }
func (p processAddr) String() string { return fmt.Sprintf("PID %d", int(p)) }

// Close stops listening and removes the socket, unless another has taken its
// place.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.err
	}
	l.closed, l.err = true, l.now.Close()
	unlock, err := lockDir(filepath.Dir(l.path))
	if err != nil {
		return l.err // the directory is gone: a left-over is recognised
	}
	defer unlock()
	if there, err := os.Lstat(l.path); err == nil && os.SameFile(there, l.now.own) {
		_ = os.Remove(l.path)
	}
	return l.err
}

// vacant makes sure that nothing living is at path, and removes a left-over.
// The caller holds the directory's lock.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("control socket %q: there is something that is not a socket; remove it or set control_socket", path)
	}
	c, err := dial(context.Background(), path)
	switch {
	case err == nil:
		who := ""
		if pid, ok := peerPID(c); ok {
			who = fmt.Sprintf(" (PID = %d)", pid)
		}
		_ = c.Close()
		return fmt.Errorf("control socket %q: another process%s answers there; stop it or set control_socket", path, who)
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("control socket: left over from a dead process: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("control socket %q: %w", path, plainNetError(err))
	}
}

// dial connects to the socket at path.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var c net.Conn
	d := net.Dialer{Timeout: dialTimeout}
	err := reach(path, func(address string) (err error) {
		c, err = d.DialContext(ctx, "unix", address)
		return err
	})
	return c, err
}

// lockTimeout is how long another process may hold a directory's lock; what is
// done under it takes microseconds, or one connect. In a folder of others, as
// /tmp, anybody can hold it for ever: there we go on without it after a moment.
const (
	lockTimeout       = 3 * time.Second
	sharedLockTimeout = 200 * time.Millisecond
)

// lockDir takes the lock under which sockets in dir come and go.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = d.Close() }
	shared := ours(dir) != nil
	deadline := time.Now().Add(lockTimeout)
	if shared {
		deadline = time.Now().Add(sharedLockTimeout)
	}
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			if shared {
				return unlock, nil //nolint:nilerr // on without it
			}
			unlock()
			return nil, fmt.Errorf("lock %q: %w", dir, err)
		}
		<-time.After(5 * time.Millisecond) // flock has no deadline of its own
	}
}

// plainNetError takes net's wrapping off, which repeats the address.
func plainNetError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}
