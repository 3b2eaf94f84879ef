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
	net.Listener
	path string
	own  fs.FileInfo // of the socket as made: what Close may remove

	closing sync.Once
	err     error
}

// Listen makes the control socket at path. A left-over of a dead process is
// replaced; a socket that answers, and a file of any other kind, is an error.
//
// The socket is bound under another name and moved to path once it listens, so
// that a socket at path that refuses connections is always a left-over.
func Listen(path string) (*Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("control socket %q: %w", path, err)
	}
	defer unlock()
	if err := vacant(path); err != nil {
		return nil, err
	}
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".racecar-%d.sock", os.Getpid()))
	_ = os.Remove(temporary) // of a dead process that had our pid: the directory is locked
	lc := net.ListenConfig{Control: ownerOnly}
	var ln net.Listener
	err = reach(temporary, func(address string) error {
		ln, err = lc.Listen(context.Background(), "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket %q: %w", path, plainNetError(err))
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // its name changes, and Close looks first
	l := &Listener{Listener: ln, path: path}
	if err := l.install(temporary); err != nil {
		_ = ln.Close()
		_ = os.Remove(temporary)
		return nil, fmt.Errorf("control socket %q: %w", path, err)
	}
	return l, nil
}

func (l *Listener) install(temporary string) error {
	// Where the mode set before bind does not count (BSDs).
	if err := os.Chmod(temporary, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temporary, l.path); err != nil {
		return err
	}
	own, err := os.Lstat(l.path)
	l.own = own
	return err
}

// Path is where the socket is.
func (l *Listener) Path() string { return l.path }

// Accept returns the next connection of this user or root. Its RemoteAddr is the
// process at the other end, so that the log can say who gave an order.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
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
	l.closing.Do(func() {
		l.err = l.Listener.Close()
		unlock, err := lockDir(filepath.Dir(l.path))
		if err != nil {
			return // the directory is gone, or stays locked: a left-over is recognised
		}
		defer unlock()
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.own) {
			_ = os.Remove(l.path)
		}
	})
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
		return fmt.Errorf("control socket %q: there is something that is no socket; remove it or set control_socket", path)
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

// lockPatience is how long another process may hold a directory's lock; what is
// done under it takes microseconds, or one connect.
const lockPatience = 3 * time.Second

// lockDir takes the lock under which sockets in dir come and go.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			_ = d.Close()
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
