// Package pidfile finds the running process without trusting a number in a file.
// It is not covered by the compatibility promise.
//
// The process holds an fcntl record lock on its pidfile for as long as it lives.
// The kernel drops the lock with the process, however it exits, and names the holder
// (F_GETLK). So a stale file, a file that another program has written, and a number that
// now belongs to another process are all harmless: only the holder of the lock is ever
// signalled. A file whose writer lives and holds no lock is another program's: it is
// neither overwritten nor called stale.
//
// Record locks have two surprising properties. Children do not inherit them, so workers
// never hold one. And they are lost when the process closes any descriptor of the same
// file: a process that holds a pidfile must not open it again, not even to read it, and
// must not call Query or Find on it.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxSize is more than a pidfile ever has.
const maxSize = 64

// RunningError is returned by Create when the lock is held.
type RunningError struct {
	Path string
	PID  int // 0: of a process that we cannot see, as in another container
}

func (e *RunningError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("pidfile %q is held by a process that cannot be seen from here", e.Path)
	}
	return fmt.Sprintf("pidfile %q is held by process %d", e.Path, e.PID)
}

// File is a pidfile that this process holds.
type File struct {
	path string
	f    *os.File
}

// attempts bounds the retries of Create when the file is removed meanwhile: each time
// another process has just exited.
const attempts = 100

// Create takes the pidfile at path for this process: it is opened or created, locked, and
// filled with our pid. When another process holds it, the error is a
// *RunningError. A stale one is taken over. A file that is no pidfile (a link, a
// FIFO, one with other content) and one of a program that lives and takes no lock
// (*ForeignError) are refused and not changed.
func Create(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("pidfile %q: %w", path, err)
	}
	for range attempts {
		p, retry, err := create(path)
		if !retry {
			return p, err
		}
	}
	return nil, fmt.Errorf("pidfile %q: it is created and removed, or locked for reading, all the time", path)
}

func create(path string) (p *File, retry bool, err error) {
	f, err := open(path, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if p == nil {
			_ = f.Close()
		}
	}()
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, wholeFile(unix.F_WRLCK)); err != nil {
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, false, fmt.Errorf("lock pidfile %q: %w", path, err)
		}
		pid, held, err := holder(f)
		if err != nil {
			return nil, false, fmt.Errorf("pidfile %q: %w", path, err)
		}
		if !held {
			return nil, true, nil // the holder has just exited, or reads it under a lock
		}
		return nil, false, &RunningError{path, pid}
	}
	// The holder before us may have unlinked the file between our open and our lock:
	// then nobody finds ours.
	if same, err := isAt(f, path); err != nil || !same {
		return nil, err == nil, err
	}
	if err := check(f, path); err != nil {
		return nil, false, err
	}
	if err := write(f); err != nil {
		_ = os.Remove(path) // created or emptied by us, and still locked
		return nil, false, fmt.Errorf("write pidfile %q: %w", path, cause(err))
	}
	return &File{path, f}, false, nil
}

// check refuses to overwrite a file that is no pidfile.
func check(f *os.File, path string) error {
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return fmt.Errorf("read pidfile %q: %w", path, cause(err))
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil // new, or left by a full disk
	}
	pid, err := parse(b)
	if err != nil {
		return fmt.Errorf("%q is not a pidfile (%w): remove it or choose another pidfile", path, err)
	}
	return foreign(f, path, pid)
}

// ForeignError is returned for a pidfile that names a process which lives, has probably
// written it, and does not hold its lock: another program's, such as Racecar in Ruby.
type ForeignError struct {
	Path    string
	PID     int
	Program string // its command line; empty: not known
}

func (e *ForeignError) Error() string {
	program := "another program"
	if e.Program != "" {
		program = fmt.Sprintf("another program (%s)", e.Program)
	}
	return fmt.Sprintf("pidfile %q names process %d, %s that is alive but does not hold its lock, as Racecar in Ruby: "+
		"stop it by its own means, or choose another pidfile", e.Path, e.PID, program)
}

// foreign finds the process that has written a pidfile which nobody holds. A process that
// began after the file was written only has the number of one that has exited.
func foreign(f *os.File, path string, pid int) error {
	if pid == os.Getpid() || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("pidfile: %w", err)
	}
	started, err := startOf(pid)
	if errors.Is(err, unix.ESRCH) || err == nil && started.After(info.ModTime().Add(clockSlack)) {
		return nil
	}
	return &ForeignError{path, pid, programOf(pid)}
}

// clockSlack is by how much the clocks of processes and files may differ.
const clockSlack = time.Second

// cause is err without the path that package os adds: our errors have it already.
func cause(err error) error {
	var withPath *os.PathError
	if errors.As(err, &withPath) {
		return withPath.Err
	}
	return err
}

func write(f *os.File) error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		_ = f.Truncate(0)
		return err
	}
	return f.Truncate(int64(len(text)))
}

// parse reads the content of a pidfile: a number above 0 with space around it.
func parse(b []byte) (int, error) {
	if len(b) > maxSize {
		return 0, errors.New("too long")
	}
	text := string(bytes.TrimSpace(b))
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, errors.New("its content is not a number")
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		return 0, errors.New("its content is not the number of a process")
	}
	return int(n), nil
}

// Remove unlinks the file, while it is still held, and releases the lock.
func (p *File) Remove() error {
	defer p.f.Close()
	same, err := isAt(p.f, p.path)
	if err != nil {
		return err
	}
	if !same {
		return nil // it was removed, and perhaps another one created
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pidfile: %w", err)
	}
	return nil
}

// open opens a regular file, and nothing else: no link is followed, and a FIFO
// does not block.
func open(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0o644)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("pidfile %q is a symbolic link: give the path of the file itself", path)
	case errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("pidfile %q is a directory", path)
	case errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("pidfile %q is not a regular file", path)
	case err != nil:
		return nil, fmt.Errorf("pidfile: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("pidfile %q is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// isAt reports whether path names the file f.
func isAt(f *os.File, path string) (bool, error) {
	ours, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("pidfile: %w", err)
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("pidfile: %w", err)
	}
	return os.SameFile(ours, there), nil
}

func wholeFile(kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart}
}

// holder asks the kernel who holds the lock; pid is 0 when the kernel cannot name it.
// Anybody may hold a lock for reading: ours is one for writing.
func holder(f *os.File) (pid int, held bool, err error) {
	lock := wholeFile(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, lock); err != nil {
		return 0, false, fmt.Errorf("ask for the lock: %w", err)
	}
	if lock.Type != unix.F_WRLCK {
		return 0, false, nil
	}
	return max(0, int(lock.Pid)), true, nil
}
