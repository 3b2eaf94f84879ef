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

// leaveUnfinished removes the members of an orphan whose work does not end, so that
// their group does not wait for them: the process is about to.
func (w *worker) leaveUnfinished() {
	ctx, cancel := context.WithTimeout(context.Background(), orphanLeave)
	defer cancel()
	if err := RemoveMembers(ctx, wire.Leave{Consumer: wire.Consumer{Config: w.cfg}, Members: w.groupMembers()}); err != nil {
		w.log.WithError(err).Warn("leaving the group")
	}
}
