package logs

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/owner"
)

// file is an append-only file that can be reopened while it is written.
//
// Lines that it does not take (the disk is full) are dropped: work goes on. That is
// said on another stream, once and then every complainEvery, and once more when
// there is room again. A line of which only a part was written is ended then.
type file struct {
	path     string
	complain io.Writer // where to report that it cannot be written
	now      func() time.Time

	mu       sync.Mutex // guards what follows; a write is whole before a reopen
	f        *os.File
	lost     int // lines since it last took one
	torn     bool
	reported time.Time
}

// complainEvery is how often lost lines are reported.
const complainEvery = time.Minute

func openFile(path string, complain io.Writer) (*file, error) {
	f, err := owner.OpenAppend(path)
	if err != nil {
		return nil, err
	}
	return &file{path: path, complain: complain, now: time.Now, f: f}, nil
}

// Write never fails: logrus would print an error for every line.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := p
	if f.torn {
		line = append([]byte{'\n'}, p...)
	}
	n, err := f.f.Write(line)
	if err != nil {
		f.torn = f.torn && n == 0 || n > 0
		f.lost++
		if now := f.now(); f.lost == 1 || now.Sub(f.reported) >= complainEvery {
			f.reported = now
			f.say("%v; lines are dropped until it can be written (%d so far)", err, f.lost)
		}
		return len(p), nil
	}
	f.torn = false
	if f.lost > 0 {
		f.say("%s can be written again; %d lines were dropped", f.path, f.lost)
		f.lost = 0
	}
	return len(p), nil
}

func (f *file) say(format string, args ...any) {
	// A stream that cannot be written to either has nobody to tell.
	_, _ = fmt.Fprintf(f.complain, "racecar: logfile: "+format+"\n", args...)
}

func (f *file) reopen() error {
	fresh, err := owner.OpenAppend(f.path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	old := f.f
	f.f, f.torn = fresh, false
	f.mu.Unlock()
	return old.Close()
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Close()
}
