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
// A delivery that failed permanently does not go away by itself: failure reports it,
// and the executor processes the partition again from the oldest entry on, once
// nothing is in flight any more (so that the new output comes after the old).
type acks struct {
	// processed is the offset after the last message whose call succeeded. The
	// executor stores it without the lock after each call.
	processed atomic.Int64
	// outstanding is len(entries), to be looked at without the lock.
	outstanding atomic.Int32
	// failed is how many entries have a delivery that failed permanently, to be looked at
	// without the lock as well.
	failed atomic.Int32
	// notify is called, without locks, when a delivery ended that somebody may
	// wait for. It must not block.
	notify func()

	mu      locks.Mutex[locks.Acks]
	calling bool // a quantum is running: output belongs to its call
	entries []*output
	flying  int   // deliveries begun and not ended, of dropped entries too
	total   int64 // messages processed up to the last call with output
}

// output is what one call has produced.
type output struct {
	acks    *acks
	offset  int64 // of the call's first message: where the position stood when it ran
	next    int64 // the offset after the call's last message; this and the next two are set when it is no longer open
	n       int   // messages of the call
	before  int64 // messages processed before it
	flying  int
	open    bool  // the call is still running
	err     error // of a delivery that failed permanently: the offset does not move over it
	dropped bool  // the call failed or will be repeated: the outcome does not matter
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
	total := a.total
	a.mu.Unlock()
	a.close(span{next: a.processed.Load()}, total)
}

// begin notes a delivery of the call that is running; nil outside of a quantum. done
// must be called once, with its end.
func (a *acks) begin() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.calling {
		return nil
	}
	a.flying++
	if o := a.last(); o != nil {
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
	return a.last()
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
		a.failed.Add(1)
	case !refusedDelivery(o.err) && refusedDelivery(err): // that one is the call's fault
		o.err = err
	}
	a.removeAcknowledged()
	// Somebody waits for the failure, for the oldest entry to go, or for all.
	wanted := a.failed.Load() > 0 || a.flying == 0 || len(a.entries) == 0 || a.entries[0].offset > o.offset
	a.mu.Unlock()
	if wanted {
		a.notify()
	}
}

// close ends the call that ran last and need not be called again; before is how many
// messages of the partition were processed before it. Without output it does nothing.
func (a *acks) close(call span, before int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.last(); o != nil {
		o.open, o.next, o.n, o.before = false, call.next, call.n, before
		a.total = before + int64(call.n)
		a.removeAcknowledged()
	}
}

// drop ends the call that ran last and is called again: its output does not matter.
func (a *acks) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.last(); o != nil {
		o.open = false
		a.forget(o)
		a.entries = a.entries[:len(a.entries)-1]
		a.removeAcknowledged()
	}
}

// last is the output of the call that is running, or ran last and is not closed; nil: it
// has none. a.mu is held.
func (a *acks) last() *output {
	if n := len(a.entries); n > 0 && a.entries[n-1].open {
		return a.entries[n-1]
	}
	return nil
}

// forget says that the outcome of o does not matter any more. a.mu is held.
func (a *acks) forget(o *output) {
	if o.err != nil && !o.dropped {
		a.failed.Add(-1)
	}
	o.dropped = true
}

// unacknowledged is how many messages were processed, of total, from the oldest call on
// whose output is not acknowledged.
func (a *acks) unacknowledged(total int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) == 0 {
		return 0
	}
	return total - a.entries[0].before
}

// removeAcknowledged removes acknowledged entries, up to the first that is not.
func (a *acks) removeAcknowledged() {
	for len(a.entries) > 0 && a.entries[0].flying == 0 && !a.entries[0].open && a.entries[0].err == nil {
		a.entries[0] = nil
		a.entries = a.entries[1:]
	}
	if len(a.entries) == 0 {
		a.entries = nil
	}
	a.outstanding.Store(int32(len(a.entries)))
}

// made returns the offset up to which everything is processed.
func (a *acks) made() int64 { return a.processed.Load() }

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

// state returns the failure that the executor has to handle, if any, and the number of
// deliveries in flight. Of several failures it is that of the oldest call.
func (a *acks) state() (failure error, flying int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure(), a.flying
}

func (a *acks) failure() error {
	if a.failed.Load() == 0 {
		return nil
	}
	for _, o := range a.entries {
		if o.err != nil && !o.dropped {
			return o.err
		}
	}
	return nil
}

// restart forgets everything and goes back to the position, from which processing goes
// on. It returns the call that was there.
func (a *acks) restart() span {
	a.mu.Lock()
	defer a.mu.Unlock()
	call := span{first: a.processed.Load()}
	if len(a.entries) > 0 {
		o := a.entries[0]
		call = span{first: o.offset, next: o.next, n: o.n}
		a.processed.Store(o.offset)
	}
	for _, o := range a.entries {
		a.forget(o)
	}
	a.entries = nil
	a.outstanding.Store(0)
	return call
}

// hold notes a delivery that begins at the current position and ends with the messages
// processed from there on: a transaction.
func (a *acks) hold() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &output{acks: a, offset: a.processed.Load(), before: a.total, flying: 1}
	a.flying++
	a.entries = append(a.entries, o)
	a.outstanding.Store(int32(len(a.entries)))
	return o
}

// addUnattributed notes a delivery that belongs to no call: its offset is its number.
func (a *acks) addUnattributed() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &output{acks: a, offset: a.processed.Load(), flying: 1, dropped: true}
	a.processed.Store(o.offset + 1)
	a.flying++
	a.entries = append(a.entries, o)
	a.outstanding.Store(int32(len(a.entries)))
	return o
}
