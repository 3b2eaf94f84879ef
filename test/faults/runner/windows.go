package runner

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/judge"
)

// A window is a time, and whoever processed a message for the first time in it may
// not have got to commit that: the message may come again. Whatever comes again
// without a window is a broken promise.
type window struct {
	pid      int // 0: any process
	from, to time.Time
}

const (
	// uncommitted is how old at most what a worker has processed is when it is
	// committed: the interval, and the way there on a machine with more to do
	// than it can.
	uncommitted = commitInterval + 2*time.Second
	// recoverWithin is how long after a fault of the cluster its consequences may
	// show: a session that runs out, a coordinator that moves, connections that
	// have to be noticed as dead.
	recoverWithin = 25 * time.Second
	// escalation is how long a call that does not react lasts, after
	// max_poll_interval, until its process is killed.
	escalation = 10 * time.Second
)

func (r *run) excuse(w window) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows = append(r.windows, w)
}

// excuseProcess is for a process that dies now, or is away for a time.
func (r *run) excuseProcess(pid int, away time.Duration) {
	now := time.Now()
	r.excuse(window{pid, now.Add(-uncommitted), now.Add(away + time.Second)})
}

// excuseCluster is for what keeps everybody from committing.
func (r *run) excuseCluster(e schedule.Event) {
	now := time.Now()
	r.excuse(window{0, now.Add(-uncommitted), now.Add(e.For + recoverWithin)})
}

// excuseFatal is for the processes that died of a call: each left a file with its
// pid beforehand.
func (r *run) excuseFatal() error {
	for what, lasts := range map[string]time.Duration{"exit": time.Second, "spin": maxPoll + escalation} {
		done, err := filepath.Glob(filepath.Join(r.mischief, "done", what+".*"))
		if err != nil {
			return err
		}
		for _, path := range done {
			pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(path), "."))
			if err != nil {
				return err
			}
			var stat unix.Stat_t
			if err := unix.Lstat(path, &stat); err != nil {
				return err
			}
			began := time.Unix(stat.Ctim.Unix()) // when it was moved there
			r.excuse(window{pid, began.Add(-uncommitted), began.Add(lasts)})
		}
	}
	return nil
}

// excused: the message was first processed in a window.
func (r *run) excused(first, _ judge.Record) bool {
	for _, w := range r.windows {
		if (w.pid == 0 || w.pid == first.PID) && first.End.After(w.from) && first.End.Before(w.to) {
			return true
		}
	}
	return false
}
