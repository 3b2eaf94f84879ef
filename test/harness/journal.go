package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// Journal is a process's record of what it did, one JSON value a line. What has
// been written survives a kill -9 of the process, though not of the machine.
type Journal struct {
	mu   sync.Mutex
	file *os.File
}

// OpenJournal opens a journal of this process's own. It works only in processes
// that Start started, and in those they started.
func OpenJournal() (*Journal, error) {
	dir := os.Getenv(journalVar)
	if dir == "" {
		return nil, fmt.Errorf("%s is not set: this process was not started by harness.Start", journalVar)
	}
	return NewJournal(dir)
}

// NewJournal opens a journal in dir. The file's name begins with the pid.
func NewJournal(dir string) (*Journal, error) {
	file, err := os.CreateTemp(dir, fmt.Sprintf("%d-*.jsonl", os.Getpid()))
	if err != nil {
		return nil, err
	}
	return &Journal{file: file}, nil
}

// Append writes one value. It may be called at the same time by several goroutines.
func (j *Journal) Append(v any) error {
	entry, err := json.Marshal(v)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	// One write: whoever is killed has written the whole line or none of it.
	_, err = j.file.Write(append(entry, '\n'))
	return err
}

// ReadJournals returns the values of all journals in dir: those of one journal in
// the order in which they were written, one journal after the other. A last line
// without its end, as a full disk leaves it, is left out.
func ReadJournals[T any](dir string) ([]T, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []T
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for n := 1; ; n++ {
			entry, rest, complete := bytes.Cut(text, []byte{'\n'})
			if !complete {
				break
			}
			var v T
			if err := json.Unmarshal(entry, &v); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			all, text = append(all, v), rest
		}
	}
	return all, nil
}

// errNotYet is the reason for going on with a wait that has no better one.
var errNotYet = errors.New("not yet")

// WaitJournals reads the journals in dir until done says that they are complete,
// and returns them.
func WaitJournals[T any](t testing.TB, dir string, done func([]T) bool) []T {
	t.Helper()
	var all []T
	Eventually(t, "journals in "+dir, func() (err error) {
		if all, err = ReadJournals[T](dir); err == nil && !done(all) {
			return fmt.Errorf("%d entries: %w", len(all), errNotYet)
		}
		return err
	})
	return all
}

// Eventually calls check, twenty times a second, until it returns nil, and fails
// the test with its last error when Patience is over.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}
