package worker

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

const (
	// orphanGrace is how long a worker takes when its supervisor is gone: the call in
	// hand has half of it.
	orphanGrace = 10 * time.Second
	// orphanLeave is the part of it in which the worker abandons unfinished work and
	// leaves the group.
	orphanLeave = time.Second
)

// stopWithin sets when all must be over, work a little earlier. A second call may only
// shorten it.
func (w *worker) stopWithin(d, reserve time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().Add(d)
	if old := w.stopAt.Load(); old != nil && !at.Before(*old) {
		return
	}
	w.stopAt.Store(&at)
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d-reserve, func() { w.timeUp(errTimeUp) })
}

// inTime says that nothing is left that could take too long.
func (w *worker) inTime() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// supervisorGone ends the worker, or shortens the stop that is under way.
func (w *worker) supervisorGone() {
	w.log.Warn("the supervisor is gone: stopping")
	w.stopWithin(orphanGrace, orphanLeave)
	w.orphan()
	w.requestShutdown(shutdown{grace: orphanGrace, leaveGroup: true})
}

// leavesAsOrphan reports whether the worker has to leave its groups although its stop
// command said otherwise, because the supervisor that was to remove its members
// is gone. With membership host they are kept over a stop.
func (w *worker) leavesAsOrphan() bool {
	return w.orphaned.Err() != nil && w.cfg.Membership != config.MembershipHost
}

// stay reports that all is finished and waits for the exit command, or for the end of the
// supervisor.
func (w *worker) stay() {
	w.inTime()
	w.finished.Store(true)
	w.changed()
	select {
	case <-w.exit:
	case <-w.orphaned.Done():
	}
}

// leaveUnfinished removes the members of an orphan whose work does not end, so that
// their group does not wait for them: the process is about to.
func (w *worker) leaveUnfinished() {
	ctx, cancel := context.WithTimeout(context.Background(), orphanLeave)
	defer cancel()
	if err := RemoveMembers(ctx, wire.Leave{Consumer: wire.Consumer{Config: w.cfg}, Members: w.groupMembers()}); err != nil {
		w.log.WithError(err).Warn("leaving the group")
	}
}
