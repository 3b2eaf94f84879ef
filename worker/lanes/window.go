package lanes

import (
	"math"

	"github.com/racecar-go/racecar/internal/offsetmap"
)

// window is the offsets from the lowest unfinished message to the position up to which the
// log was read. All of them that are not in its list are finished, or do not exist.
type window struct {
	readTo      int64
	beyond      offsetmap.Set // finished, at or above readTo
	first, last *Message      // the unfinished messages, in the order of their offsets
	known       int           // how many they are
	top         int64         // the highest offset below readTo that has begun, or is finished
	room        int64         // bytes of the map
}

const (
	// header bounds the fields of the metadata besides the attempts and the map.
	header = 64
	// attemptsRoom is left for the attempts of failing messages: where they take more, the
	// metadata leaves out those of the last ones.
	attemptsRoom = 512
)

func room(limit int) int64 { return int64(offsetmap.MapBytes(limit - header - attemptsRoom)) }

func (w *window) start(offset int64, finished offsetmap.Set) {
	w.readTo, w.top = offset, offset-1
	w.beyond = finished.Between(offset, math.MaxInt64)
}

// read moves the position up to which the log was read.
func (w *window) read(offset int64) {
	w.readTo = max(w.readTo, offset)
	for len(w.beyond) > 0 && w.beyond[0].First < offset {
		r := w.beyond[0]
		if w.top = max(w.top, min(r.Next, offset)-1); r.Next > offset {
			return
		}
		w.beyond = w.beyond[1:]
	}
}

// base is the lowest offset that is not finished, as far as is known.
func (w *window) base() int64 {
	if w.first != nil {
		return w.first.Offset
	}
	return w.beyond.Next(w.readTo)
}

func (w *window) add(m *Message) {
	if m.prev = w.last; m.prev != nil {
		m.prev.next = m
	} else {
		w.first = m
	}
	w.last = m
	w.known++
	w.read(m.Offset + 1)
}

func (w *window) begin(m *Message) {
	m.begun = true
	w.top = max(w.top, m.Offset)
}

func (w *window) finish(m *Message) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		w.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		w.last = m.prev
	}
	w.known--
}

// admits reports whether m may begin. The lowest unfinished message always may, and one
// that has begun before: it was taken into account.
func (w *window) admits(m *Message) bool {
	return m.begun || m == w.first || w.admitsOffset(m.Offset)
}

// admitsOffset reports whether the map fits when a message at offset and all that have
// begun end in whatever order.
func (w *window) admitsOffset(offset int64) bool {
	base, top := w.base(), max(w.top, offset)
	if offset <= base {
		return true
	}
	highest := top
	if n := len(w.beyond); n > 0 {
		highest = max(highest, w.beyond[n-1].Next-1)
	}
	return offsetmap.BitmapBytes(highest-base) <= w.room || w.runs(top) <= w.room
}

// runs bounds the bytes of the map as run lengths, whatever of the messages up to top that
// have begun is finished: each of them that finishes among unfinished ones adds two runs of
// a byte, or lengthens one by a byte.
func (w *window) runs(top int64) int64 {
	const ends = 2 + 2 // of the message that is to begin, and the bytes of a run that grows
	total, unfinished := int64(ends), int64(0)
	for m := w.first; m != nil && m.Offset <= top && total <= w.room; m = m.next {
		next := top + 1
		if m.next != nil {
			next = min(next, m.next.Offset)
		}
		if finished := next - m.Offset - 1; finished > 0 {
			total += 1 + offsetmap.RunBytes(finished)
		}
		if m.begun {
			total += 2
		}
		unfinished++
	}
	at := max(w.readTo, top+1)
	for _, r := range w.beyond {
		total += offsetmap.RunBytes(max(0, r.First-at)) + offsetmap.RunBytes(r.Next-r.First) + 1
		at = r.Next
	}
	return total + unfinished/64 // runs of unfinished messages whose length takes more than a byte
}

// Commit returns what may be committed: the lowest unfinished offset, what is finished
// beyond it, and the messages that have failed, as many as the metadata has room for.
func (p *Partition) Commit() (offset int64, finished offsetmap.Set, failing []offsetmap.Failing) {
	w := &p.window
	offset = w.base()
	for m := w.first; m != nil; m = m.next {
		next := min(w.readTo, w.top+1)
		if m.next != nil {
			next = min(next, m.next.Offset)
		}
		if m.Offset < w.top && m.Offset+1 < next {
			finished = append(finished, offsetmap.Range{First: m.Offset + 1, Next: next})
		}
		if m.Attempts > 0 && len(failing) < offsetmap.MaxFailing {
			failing = append(failing, offsetmap.Failing{Offset: m.Offset, Attempts: m.Attempts})
		}
	}
	for _, r := range w.beyond.Between(max(w.readTo, offset+1), math.MaxInt64) {
		finished = finished.With(r.First, r.Next)
	}
	for _, f := range p.unread() {
		if len(failing) < offsetmap.MaxFailing {
			failing = append(failing, f)
		}
	}
	return offset, finished, failing
}

// FinishedBeyond is how many offsets beyond the committed one are finished.
func (p *Partition) FinishedBeyond() int64 {
	w := &p.window
	if w.first == nil {
		return w.beyond.Between(w.base(), math.MaxInt64).Count()
	}
	return w.readTo - w.first.Offset - int64(w.known) + w.beyond.Between(w.readTo, math.MaxInt64).Count()
}

// Position is the offset up to which the log was read.
func (p *Partition) Position() int64 { return p.window.readTo }

// Full returns the oldest message if nothing else may begin because the map has no room;
// nil: it has.
func (p *Partition) Full() *Message {
	w := &p.window
	switch {
	case w.first == nil:
		return nil
	case len(p.ready) > 0 && !w.admits(p.ready[0]), len(p.ready) == 0 && (w.known >= maxKnown || !w.admitsOffset(w.readTo)):
		return w.first
	}
	return nil
}
