package pidfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning is returned by Find when nobody holds the pidfile.
var ErrNotRunning = errors.New("no process holds the pidfile")

// Holder is a process, in most cases the one that holds a pidfile: that one and
// no other, however long one keeps it.
type Holder struct {
	PID  int
	path string
	proc process
}

// Find gets hold of the process that holds the pidfile. It is opened by its
// number, and then the kernel is asked again: when the answer is the same, the
// number meant that process all the while.
func Find(path string) (*Holder, error) {
	f, err := open(path, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for range attempts {
		pid, held, err := holder(f)
		switch {
		case err != nil:
			return nil, fmt.Errorf("pidfile %q: %w", path, err)
		case !held:
			return nil, ErrNotRunning
		case pid == 0:
			return nil, fmt.Errorf("pidfile %q is held by a process that cannot be seen from here", path)
		}
		proc, err := openProcess(pid)
		if errors.Is(err, unix.ESRCH) {
			continue // it ended; perhaps another one has the file now
		}
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		again, held, err := holder(f)
		if err == nil && held && again == pid {
			return &Holder{PID: pid, path: path, proc: proc}, nil
		}
		proc.close()
	}
	return nil, fmt.Errorf("pidfile %q: its holder changes all the time", path)
}

// Hold gets hold of a process that is known by its number from elsewhere, say
// from a socket it listens at. still is asked afterwards whether the number
// means the same process as before; when it does not, or the process is gone,
// it is ErrNotRunning.
func Hold(pid int, still func() bool) (*Holder, error) {
	proc, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	h := &Holder{PID: pid, proc: proc}
	if proc.ended() || !still() {
		h.Close()
		return nil, ErrNotRunning
	}
	return h, nil
}

// Signal sends sig to the process. One that has ended is no error.
func (h *Holder) Signal(sig unix.Signal) error {
	err := h.proc.signal(sig)
	if err == nil || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("signal process %d: %w", h.PID, err)
}

// pollEvery is how often Wait looks.
const pollEvery = 50 * time.Millisecond

// Wait returns when the process has ended, or ctx.
func (h *Holder) Wait(ctx context.Context) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		if h.proc.ended() {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close forgets the process.
func (h *Holder) Close() { h.proc.close() }
