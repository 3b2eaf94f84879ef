package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/owner"
)

// Runtime says where the sockets of supervisors without a pidfile are, and
// where those elsewhere are made known by a link. The zero value means
// XDG_RUNTIME_DIR and /tmp.
type Runtime struct {
	// Dirs are looked into in this order; the first usable one takes new
	// sockets. Tests set it.
	Dirs []string
}

// dirs are the folders that may hold our sockets. A daemon often runs without
// the XDG_RUNTIME_DIR of the shell that rules it, so both are looked into.
func (r Runtime) dirs() []string {
	if r.Dirs != nil {
		return r.Dirs
	}
	var dirs []string
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		dirs = append(dirs, filepath.Join(xdg, "racecar"))
	}
	// Not TMPDIR: it, too, differs between a daemon and a shell.
	return append(dirs, fmt.Sprintf("/tmp/racecar-%d", os.Geteuid()))
}

// Listen makes a control socket named for this process in the user's folder,
// which it makes if need be.
func (r Runtime) Listen() (*Listener, error) {
	dir, err := r.dir()
	if err != nil {
		return nil, err
	}
	folder := func() error { return usable(dir) }
	name := filepath.Join(dir, strconv.Itoa(os.Getpid()))
	l, err := listenAt(name+".sock", folder)
	// A process of another pid namespace that shares the folder may have our pid.
	for i := 2; err != nil && i < 10; i++ {
		if other, again := listenAt(fmt.Sprintf("%s-%d.sock", name, i), folder); again == nil {
			return other, nil
		}
	}
	return l, err
}

// Announcement makes a socket that lies elsewhere known to racecarctl of the same
// user, by a link.
type Announcement struct {
	runtime Runtime
	socket  string
	link    string // empty: there is none
}

// Announce makes a socket known. Without it racecarctl has to be told where the
// socket is, and nothing else is wrong: the Announcement is good in any case.
func (r Runtime) Announce(socket string) (*Announcement, error) {
	a := &Announcement{runtime: r, socket: socket}
	return a, a.Restore()
}

// Restore recreates the link when it is gone.
func (a *Announcement) Restore() error {
	if target, err := os.Readlink(a.link); err == nil && target == a.socket {
		return nil
	}
	dir, err := a.runtime.dir()
	if err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return fmt.Errorf("control sockets: %w", err)
	}
	defer unlock()
	link := filepath.Join(dir, fmt.Sprintf("%d.link.sock", os.Getpid()))
	_ = os.Remove(link) // of a dead process that had our pid
	if err := os.Symlink(a.socket, link); err != nil {
		return fmt.Errorf("control sockets: %w", err)
	}
	a.link = link
	return nil
}

// Withdraw removes the link.
func (a *Announcement) Withdraw() {
	if target, err := os.Readlink(a.link); err == nil && target == a.socket {
		_ = os.Remove(a.link) // a left-over is recognised
	}
}

// dir returns the folder for new sockets, made if it is not there.
func (r Runtime) dir() (string, error) {
	var errs []error
	for _, dir := range r.dirs() {
		err := usable(dir)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// usable makes a folder for sockets if it is not there, and checks that it is ours.
func usable(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("control sockets: %w; set control_socket to a path that can be written, such as in an emptyDir of the pod", err)
	}
	return ours(dir)
}

// ours checks that a folder is one that only this user can have put things
// into: /tmp is everybody's.
func ours(dir string) error {
	if err := owner.Private(dir); err != nil {
		return fmt.Errorf("control sockets: %w; remove it, or set control_socket", err)
	}
	return nil
}

// Find returns the sockets of this user that answer, in order of their names,
// and removes left-overs of dead processes.
func (r Runtime) Find(ctx context.Context) ([]string, error) {
	var found []string
	var errs []error
	for _, dir := range r.dirs() {
		if err := ours(dir); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("control sockets: %w", err))
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".sock") || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if socket, ok := r.alive(ctx, filepath.Join(dir, e.Name())); ok && !slices.Contains(found, socket) {
				found = append(found, socket)
			}
		}
	}
	return found, errors.Join(errs...)
}

// alive says whether somebody answers at an entry and where its socket is; a
// left-over is removed.
func (r Runtime) alive(ctx context.Context, entry string) (socket string, ok bool) {
	socket = entry
	if target, err := os.Readlink(entry); err == nil {
		socket = target
	}
	c, err := dial(ctx, socket)
	if err == nil {
		_ = c.Close()
		return socket, true
	}
	if !leftOver(err) {
		return "", false
	}
	unlock, err := lockDir(filepath.Dir(entry))
	if err != nil {
		return "", false
	}
	defer unlock()
	// Asked again under the lock: another may have taken the name meanwhile.
	if c, err := dial(ctx, socket); err == nil {
		_ = c.Close()
		return socket, true
	} else if leftOver(err) {
		_ = os.Remove(entry)
	}
	return "", false
}

// leftOver says whether a failed connect proves that nobody listens there.
func leftOver(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}
