package worker

import (
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// hold is a reason why a partition is not served, those that last longest first.
type hold int

const (
	holdLeaving     hold = iota // it is being released
	holdInstance                // its instance cannot be constructed yet
	holdOperator                // paused by an operator
	holdPoisoned                // its next message is poison: until it is resumed
	holdCorrupt                 // its next batch cannot be decoded: until it is resumed
	holdPaused                  // its next message failed: until it is resumed
	holdOutage                  // its next message needs something that is unavailable
	holdDeadLetters             // dead-letter records are on their way
	holdRefused                 // the dead-letter topic refused one: for a time
	holdBackoff                 // its next message failed, or cannot be called yet: for a time
	holdOutput                  // its output or its transaction is not acknowledged
	holdCommits                 // too many transactions of its instance wait to be committed
	holdQuiet                   // the worker is quiet, or stops: of all partitions
)

// shownAs is the state of a partition that its hold shows, holdOutput only with a reason.
// Others show none: they pass by themselves within moments, or the worker's state shows them.
var shownAs = map[hold]status.PartitionState{
	holdInstance: status.PartitionBlocked, holdOperator: status.PartitionPaused, holdPoisoned: status.PartitionPoisoned,
	holdCorrupt: status.PartitionPoisoned, holdPaused: status.PartitionPaused, holdDeadLetters: status.PartitionBlocked,
	holdOutage: status.PartitionBlocked, holdRefused: status.PartitionBlocked, holdBackoff: status.PartitionBackoff, holdOutput: status.PartitionBlocked,
}

// heldBy is a hold that is on.
type heldBy struct {
	hold   hold
	reason string    // one line for the status
	until  time.Time // when it ends by itself; zero: it does not
}

// holds are the reasons why a partition is not served, the strongest first. It may be
// served when there is none. scheduler.mu guards it.
type holds []heldBy

// set adds a hold, or replaces the one of its kind.
func (h *holds) set(one heldBy) {
	h.remove(one.hold)
	i, _ := slices.BinarySearchFunc(*h, one.hold, func(e heldBy, k hold) int { return int(e.hold - k) })
	*h = slices.Insert(*h, i, one)
}

// remove ends holds.
func (h *holds) remove(which ...hold) {
	*h = slices.DeleteFunc(*h, func(e heldBy) bool { return slices.Contains(which, e.hold) })
}

// expire removes the holds whose time is over, and returns when the next one ends by
// itself; zero: none does.
func (h *holds) expire(now time.Time) (next time.Time) {
	*h = slices.DeleteFunc(*h, func(e heldBy) bool { return !e.until.IsZero() && !e.until.After(now) })
	for _, e := range *h {
		if !e.until.IsZero() && (next.IsZero() || e.until.Before(next)) {
			next = e.until
		}
	}
	return next
}

func (h holds) has(which ...hold) bool {
	return slices.ContainsFunc(h, func(e heldBy) bool { return slices.Contains(which, e.hold) })
}

// show fills in the state, that of the strongest hold.
func (h holds) show(s *status.Partition) {
	s.State = status.PartitionRunning
	for _, e := range h {
		if state, ok := shownAs[e.hold]; ok && (e.hold != holdOutput || e.reason != "") {
			s.State, s.Reason = state, e.reason
			if !e.until.IsZero() {
				s.Until = &e.until
			}
			return
		}
	}
}
