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

// Holder is a process, in most cases the one that holds a pidfile. It never means another
// process, however long it is kept.
type Holder struct {
	PID  int
	path string
	proc process
}

// Find opens the process that holds the pidfile, by its number, and then asks the kernel
// again: when the answer is the same, the number meant that process all the time.
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
			continue // it exited; perhaps another one has the file now
		}
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		second, held, err := holder(f)
		if err == nil && held && second == pid {
			return &Holder{PID: pid, path: path, proc: proc}, nil
		}
		proc.close()
	}
	return nil, fmt.Errorf("pidfile %q: its holder changes all the time", path)
}

// Hold opens a process whose number is known from elsewhere, for example from a socket at
// which it listens. still reports afterwards whether the number means the same process as
// before; if not, or if the process has exited, the error is ErrNotRunning.
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

// Signal sends sig to the process. It is no error if the process has exited.
func (h *Holder) Signal(sig unix.Signal) error {
	err := h.proc.signal(sig)
	if err == nil || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("signal process %d: %w", h.PID, err)
}

// pollEvery is how often Wait checks.
const pollEvery = 50 * time.Millisecond

// Wait returns when the process has exited, or ctx ends.
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

// Close closes the descriptor of the process.
func (h *Holder) Close() { h.proc.close() }
