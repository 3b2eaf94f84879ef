package supervisor

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// logQueue is how many lines wait for a log that does not take them.
const logQueue = 1024

// asyncLog writes log lines from a goroutine of its own, so that a full pipe or
// a hanging disk never stops the loop. What does not fit is counted and said
// once there is room.
type asyncLog struct {
	to    logrus.FieldLogger
	c     chan func()
	done  chan struct{}
	mu    sync.Mutex
	lost  int
	ended bool
}

func newAsyncLog(to logrus.FieldLogger) *asyncLog {
	l := &asyncLog{to: to, c: make(chan func(), logQueue), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for f := range l.c {
			f()
		}
	}()
	return l
}

// write queues one line. It never blocks.
func (l *asyncLog) write(level logrus.Level, msg string, fields logrus.Fields) {
	at := time.Now()
	l.run(func() { l.to.WithFields(fields).WithTime(at).Log(level, msg) })
}

// run queues something that has to happen between lines, as opening the log
// file again. It never blocks.
func (l *asyncLog) run(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if n := l.lost; n > 0 {
		select {
		case l.c <- func() { l.to.WithField("lines", n).Warn("log lines were dropped: the log did not take them") }:
			l.lost = 0
		default:
		}
	}
	select {
	case l.c <- f:
	default:
		l.lost++
	}
}

// close writes what is queued, for at most that long.
func (l *asyncLog) close(within time.Duration) {
	l.mu.Lock()
	l.ended = true
	close(l.c)
	l.mu.Unlock()
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}
