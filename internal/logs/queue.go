package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// maxQueued is how many bytes of lines wait for a log that does not take them.
	maxQueued = 1 << 20
	// unreadAfter is how long a log takes nothing before it counts as unread.
	unreadAfter = 2 * time.Second
	// flushWithin bounds writing what is queued at the end.
	flushWithin = 2 * time.Second
)

// queue writes lines from a separate goroutine, so that a full pipe or a hanging disk
// blocks no caller forever. It counts lines that do not fit, and reports their number
// once there is room again.
type queue struct {
	// timeout is how long a caller waits for its line to be written, as long as
	// the log takes lines; zero: not at all.
	timeout time.Duration
	// lostLines makes the line that says how many were dropped.
	lostLines func(n int) func()
	// onStuck is called when a caller's wait has timed out.
	onStuck func()

	wake chan struct{}
	done chan struct{} // closed when the goroutine ends

	mu     sync.Mutex
	lines  []line
	bytes  int       // of lines
	since  time.Time // when writing the line in hand began; zero: none is
	lost   int       // dropped and not reported yet
	stuck  bool      // callers do not wait until all is written
	closed bool

	// Of run alone.
	failed   int       // lines that could not be written
	reported time.Time // when that was last reported
}

type line struct {
	write   func()
	size    int
	written chan struct{}
}

func newQueue(timeout time.Duration) *queue {
	return &queue{timeout: timeout, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put queues a line.
func (q *queue) put(size int, write func()) {
	l := line{write, size, make(chan struct{})}
	q.mu.Lock()
	if q.closed || q.bytes+size > maxQueued && len(q.lines) > 0 {
		q.lost++
		q.mu.Unlock()
		return
	}
	q.add(l)
	wait := q.timeout > 0 && !q.stuck
	q.mu.Unlock()
	if !wait {
		return
	}
	t := time.NewTimer(q.timeout)
	defer t.Stop()
	select {
	case <-l.written:
	case <-t.C:
		q.mu.Lock()
		first := !q.stuck
		q.stuck = true
		q.mu.Unlock()
		if first {
			q.onStuck()
		}
	}
}

// add queues l, behind what has to be said of lines lost. The caller holds mu.
func (q *queue) add(l line) {
	if q.lost > 0 {
		q.lines = append(q.lines, line{q.lostLines(q.lost), 0, make(chan struct{})})
		q.lost = 0
	}
	q.lines = append(q.lines, l)
	q.bytes += l.size
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes until close.
func (q *queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		q.since = time.Time{}
		if len(q.lines) == 0 {
			q.stuck = false
			if q.lost > 0 {
				q.add(line{func() {}, 0, make(chan struct{})})
			}
		}
		if len(q.lines) == 0 {
			closed := q.closed
			q.mu.Unlock()
			if closed {
				return
			}
			<-q.wake
			continue
		}
		l := q.lines[0]
		q.lines = q.lines[1:]
		q.bytes -= l.size
		q.since = time.Now()
		q.mu.Unlock()
		l.write()
		close(l.written)
	}
}

// write writes a line. It reports failures on stderr once in a while; logrus would
// report each line. Called by run.
func (q *queue) write(to io.Writer, text []byte) {
	_, err := to.Write(text)
	if err == nil {
		return
	}
	q.failed++
	if now := time.Now(); now.Sub(q.reported) >= complainEvery {
		q.reported = now
		fmt.Fprintf(os.Stderr, "racecar: log: %v; lines are dropped until it can be written (%d so far)\n", err, q.failed)
	}
}

// problem says in one line that the log does not take what is written; empty: it
// does.
func (q *queue) problem() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.stuck && q.lost == 0 && (q.since.IsZero() || time.Since(q.since) < unreadAfter) {
		return ""
	}
	text := "the log is not being read"
	if !q.since.IsZero() {
		text += " since " + q.since.Format(time.TimeOnly)
	}
	if q.lost > 0 {
		text += fmt.Sprintf(": %d lines were dropped", q.lost)
	}
	return text
}

// close writes what is queued, and reports whether the log took it.
func (q *queue) close() bool {
	if q.problem() != "" {
		return false
	}
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	t := time.NewTimer(flushWithin)
	defer t.Stop()
	select {
	case <-q.done:
		return true
	case <-t.C:
		return false
	}
}

// Detach makes a separate goroutine write the lines from now on, so that no caller
// waits for a log that nobody reads. As long as somebody reads it, callers wait up to
// timeout for their line, so that it is written when the process dies; with 0 never.
// complain receives the report about a log that nobody reads; nil: no report, see
// Problem.
func (l *Log) Detach(timeout time.Duration, complain io.Writer) {
	q := newQueue(timeout)
	to, hooks := l.Out, l.ReplaceHooks(logrus.LevelHooks{})
	q.lostLines = func(n int) func() {
		e := logrus.NewEntry(l.Logger).WithTime(time.Now()).WithField("lines", n)
		e.Level, e.Message = logrus.WarnLevel, "log lines were dropped: nobody read the log"
		return func() {
			for _, h := range hooks[e.Level] {
				_ = h.Fire(e) // the user's logger: there is nowhere else to say so
			}
			if text, err := l.Formatter.Format(e); err == nil { // it has nothing that cannot be formatted
				q.write(to, text)
			}
		}
	}
	q.onStuck = func() {
		if complain != nil {
			go fmt.Fprintln(complain, "racecar: nobody reads the log: lines are dropped until somebody does") // which may not be read either
		}
	}
	l.SetOutput(queuedWriter{q, to})
	for level, hs := range hooks {
		for _, h := range hs {
			l.Hooks[level] = append(l.Hooks[level], queuedHook{h, q})
		}
	}
	l.queue = q
	go q.run()
}

// After does f once what was logged before is written, without waiting for it.
func (l *Log) After(f func()) {
	if l.queue == nil {
		f()
		return
	}
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.queue.add(line{f, 0, make(chan struct{})})
}

// Problem says in one line that the log is not being read; empty: it is.
func (l *Log) Problem() string {
	if l.queue == nil {
		return ""
	}
	return l.queue.problem()
}

// queuedWriter is the output of a logger; logrus takes its buffer back.
type queuedWriter struct {
	q  *queue
	to io.Writer
}

func (w queuedWriter) Write(p []byte) (int, error) {
	if w.to != io.Discard {
		text := bytes.Clone(p)
		w.q.put(len(text), func() { w.q.write(w.to, text) })
	}
	return len(p), nil
}

// queuedHook is a user's logger behind the queue.
type queuedHook struct {
	logrus.Hook
	q *queue
}

// hookSize stands for the size of an entry that was not formatted.
const hookSize = 512

func (h queuedHook) Fire(e *logrus.Entry) error {
	own := e.Dup()
	own.Level, own.Message = e.Level, e.Message
	h.q.put(hookSize, func() { _ = h.Hook.Fire(own) })
	return nil
}
