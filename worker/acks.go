package worker

import (
	"sync/atomic"

	"github.com/racecar-go/racecar/internal/locks"
)

// acks tells how far a partition's offset may move. Calls that produced nothing
// leave no trace in it; of the others it holds one entry each, in the order of
// their offsets, until the output is acknowledged: the offset moves up to the
// oldest entry and no further.
//
// A delivery that finally fails does not go away by itself: failure reports it,
// and the executor processes the partition again from the oldest entry on, once
// nothing is in flight any more (so that the new output comes after the old).
type acks struct {
	// processed is the offset after the last message whose call succeeded. The
	// executor stores it without the lock after each call.
	processed atomic.Int64
	// outstanding is len(entries), to be looked at without the lock.
	outstanding atomic.Int32
	// notify is called, without locks, when a delivery ended that somebody may
	// wait for. It must not block.
	notify func()

	mu      locks.Mutex[locks.Acks]
	calling bool // a turn is on: what is produced belongs to its call
	entries []*output
	flying  int // deliveries begun and not ended, of dropped entries too
	failed  int // entries with a delivery that finally failed
}

// output is what one call has produced.
type output struct {
	acks    *acks
	offset  int64 // of the call's first message: where the position stood when it ran
	next    int64 // the offset after the call's last message; set when it is no longer open
	flying  int
	open    bool  // the call is still running
	err     error // of a delivery that finally failed: the offset does not move over it
	dropped bool  // the call failed or is to be repeated: the outcome does not matter
}

// enter says that what is produced from now on belongs to this partition.
func (a *acks) enter() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calling = true
}

// exit ends that; it closes the entry of a call that produced after its end,
// from a goroutine it left behind.
func (a *acks) exit() {
	a.mu.Lock()
	a.calling = false
	a.mu.Unlock()
	a.close(a.processed.Load())
}

// begin notes a delivery of the call that is running; nil when no turn is on. done
// must be called once, with its end.
func (a *acks) begin() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.calling {
		return nil
	}
	a.flying++
	if n := len(a.entries); n > 0 && a.entries[n-1].open {
		o := a.entries[n-1]
		o.flying++
		return o
	}
	o := &output{acks: a, offset: a.processed.Load(), flying: 1, open: true}
	a.entries = append(a.entries, o)
	a.outstanding.Store(int32(len(a.entries)))
	return o
}

// isOpen reports whether o's call is still running.
func (o *output) isOpen() bool {
	o.acks.mu.Lock()
	defer o.acks.mu.Unlock()
	return o.open
}

// running is the output of the call that is running; nil when it has none.
func (a *acks) running() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.entries); n > 0 && a.entries[n-1].open {
		return a.entries[n-1]
	}
	return nil
}

// done ends a delivery.
func (o *output) done(err error) {
	a := o.acks
	a.mu.Lock()
	a.flying--
	o.flying--
	switch {
	case err == nil || o.dropped:
	case o.err == nil:
		o.err = err
		a.failed++
	case !refusedDelivery(o.err) && refusedDelivery(err): // that one is the call's fault
		o.err = err
	}
	a.sweep()
	// Somebody waits for the failure, for the oldest entry to go, or for all.
	tell := a.failed > 0 || a.flying == 0 || len(a.entries) == 0 || a.entries[0].offset > o.offset
	a.mu.Unlock()
	if tell {
		a.notify()
	}
}

// close ends the call that ran last: next is the offset after its last message when
// it need not be called again, negative when it is. Without output it does nothing;
// callers look at outstanding first.
func (a *acks) close(next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.entries) - 1
	if n < 0 || !a.entries[n].open {
		return
	}
	o := a.entries[n]
	o.open, o.next = false, next
	if next < 0 {
		a.drop(o)
		a.entries = a.entries[:n]
	}
	a.sweep()
}

// again has close end a call that is called again.
const again = -1

// drop says that the outcome of o does not matter any more. a.mu is held.
func (a *acks) drop(o *output) {
	if o.err != nil && !o.dropped {
		a.failed--
	}
	o.dropped = true
}

// sweep forgets what is acknowledged, up to the first that is not.
func (a *acks) sweep() {
	for len(a.entries) > 0 && a.entries[0].flying == 0 && !a.entries[0].open && a.entries[0].err == nil {
		a.entries[0] = nil
		a.entries = a.entries[1:]
	}
	if len(a.entries) == 0 {
		a.entries = nil
	}
	a.outstanding.Store(int32(len(a.entries)))
}

// position returns the offset up to which everything is processed and
// acknowledged: what may be committed.
func (a *acks) position() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) > 0 {
		return a.entries[0].offset
	}
	return a.processed.Load()
}

// state returns the failure that is to be dealt with, if any, and the number of
// deliveries in flight. Of several failures it is that of the oldest call.
func (a *acks) state() (failure error, flying int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure(), a.flying
}

func (a *acks) failure() error {
	if a.failed == 0 {
		return nil
	}
	for _, o := range a.entries {
		if o.err != nil && !o.dropped {
			return o.err
		}
	}
	return nil
}

// restart forgets everything and goes back to the position, which it returns with
// the end of the call that was there: processing goes on from there.
func (a *acks) restart() (position, next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) > 0 {
		a.processed.Store(a.entries[0].offset)
		next = a.entries[0].next
	}
	for _, o := range a.entries {
		a.drop(o)
	}
	a.entries = nil
	a.outstanding.Store(0)
	return a.processed.Load(), next
}

// hold notes a delivery that begins where processing stands and is to end with
// whatever is processed from there on: a transaction.
func (a *acks) hold() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &output{acks: a, offset: a.processed.Load(), flying: 1}
	a.flying++
	a.entries = append(a.entries, o)
	a.outstanding.Store(int32(len(a.entries)))
	return o
}

// alone notes a delivery that belongs to no call: its offset is its number.
func (a *acks) alone() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &output{acks: a, offset: a.processed.Load(), flying: 1, dropped: true}
	a.processed.Store(o.offset + 1)
	a.flying++
	a.entries = append(a.entries, o)
	a.outstanding.Store(int32(len(a.entries)))
	return o
}
