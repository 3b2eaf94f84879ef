package lanes

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/racecar"
)

// Options say how a Partition works.
type Options struct {
	Keyed bool  // messages with the same key are processed in order; else none are
	Limit int   // characters of the metadata of a commit
	Held  int64 // bytes of records that wait behind failed messages, and of others that wait
	// Shared bounds the records of all partitions of a worker in the same way; nil: nothing
	// does.
	Shared *Budget
}

// Budget is what the waiting records of several partitions take. Its caller guards it as
// it does the partitions.
type Budget struct {
	Limit int64 // bytes, of each kind
	used  used
}

// Used is how many bytes the records take.
func (b *Budget) Used() int64 { return b.used.held + b.used.queued }

// used is bytes of records that are not in hand.
type used struct {
	held   int64 // in lanes whose first message has failed
	queued int64 // in others
}

func (u *used) add(held bool, bytes int64) {
	if held {
		u.held += bytes
	} else {
		u.queued += bytes
	}
}

// Partition is the unfinished messages of a partition.
type Partition struct {
	o      Options
	window window
	lanes  map[string]*lane

	ready  byOffset // may begin
	absent byOffset // may begin once they were fetched again
	paused byTime   // have failed; those that wait until they are resumed are in parked
	parked map[*Message]struct{}

	inHand int
	used   used
	groups int64

	pass     *Message // the next message that a second reading may bring; nil: none
	passing  bool     // a second reading is under way
	attempts map[int64]int
}

// New returns a partition whose log is read from offset on. What is finished beyond it is
// not read again; attempts are those of messages that failed before.
func New(o Options, offset int64, finished offsetmap.Set, failing []offsetmap.Failing) *Partition {
	if o.Shared == nil {
		o.Shared = &Budget{Limit: 1 << 62}
	}
	p := &Partition{o: o, lanes: map[string]*lane{}, parked: map[*Message]struct{}{}, attempts: map[int64]int{}}
	for _, f := range failing {
		p.attempts[f.Offset] = f.Attempts
	}
	p.window.start(offset, finished)
	p.window.room = room(o.Limit)
	return p
}

// Limit changes how many characters the metadata of a commit may have.
func (p *Partition) Limit(limit int) { p.window.room = room(limit) }

// Add adds the next message that was read. It returns nil for one that is finished, or
// known already: that is given its record if it needs it. Records are cloned.
func (p *Partition) Add(r *racecar.Message) *Message {
	if r.Offset < p.window.readTo {
		return p.addAgain(r)
	}
	if p.passing {
		p.gone(r.Offset)
	}
	if p.window.beyond.Contains(r.Offset) {
		p.window.read(r.Offset + 1)
		return nil
	}
	m := &Message{Offset: r.Offset, Record: Clone(r), size: Size(r), Attempts: p.attempts[r.Offset], number: -1}
	delete(p.attempts, r.Offset)
	p.window.add(m)
	l := p.laneOf(r)
	m.lane = l
	l.messages = append(l.messages, m)
	p.count(m)
	if len(l.messages) == 1 {
		p.mayBegin(m)
	} else if l.failing && p.holdsTooMuch(0) {
		p.drop(m)
	}
	return m
}

// holdsTooMuch reports whether so many bytes more behind failed messages are too much.
func (p *Partition) holdsTooMuch(more int64) bool {
	return p.used.held+more > p.o.Held || p.o.Shared.used.held+more > p.o.Shared.Limit
}

// Read notes that below offset there is nothing but what was added.
func (p *Partition) Read(offset int64) {
	if p.passing {
		p.gone(offset)
	}
	p.window.read(offset)
}

func (p *Partition) laneOf(r *racecar.Message) *lane {
	if r.Key == nil || !p.o.Keyed {
		return &lane{}
	}
	l := p.lanes[string(r.Key)]
	if l == nil {
		l = &lane{key: string(r.Key), keyed: true}
		p.lanes[l.key] = l
	}
	return l
}

// count counts m's record, which is not in hand (any more).
func (p *Partition) count(m *Message) {
	if m.Record == nil || m.counted {
		return
	}
	m.counted = true
	m.lane.bytes += m.size
	p.addUsed(m.lane, m.size)
}

func (p *Partition) uncount(m *Message) {
	if m.counted {
		m.counted = false
		m.lane.bytes -= m.size
		p.addUsed(m.lane, -m.size)
	}
}

func (p *Partition) addUsed(l *lane, bytes int64) {
	p.used.add(l.failing, bytes)
	p.o.Shared.used.add(l.failing, bytes)
}

// drop forgets m's record.
func (p *Partition) drop(m *Message) {
	p.uncount(m)
	m.Record = nil
}

// setFailing says whether the first message of l has failed.
func (p *Partition) setFailing(l *lane, failing bool) {
	p.addUsed(l, -l.bytes)
	l.failing = failing
	p.addUsed(l, l.bytes)
}

// mayBegin has the first message of a lane begin when its turn comes.
func (p *Partition) mayBegin(m *Message) {
	switch {
	case m.state == inHand, m.state == paused:
	case m.Record == nil:
		m.state = absent
		heap.Push(&p.absent, m)
	default:
		m.state = ready
		heap.Push(&p.ready, m)
	}
}

// due has messages begin whose pause is over.
func (p *Partition) due(now time.Time) {
	for len(p.paused.byOffset) > 0 && !p.paused.byOffset[0].wait.Until.After(now) {
		p.unpause(heap.Pop(&p.paused).(*Message))
	}
}

func (p *Partition) unpause(m *Message) {
	m.state = waiting
	p.count(m)
	if m.lane.first() == m {
		p.mayBegin(m)
	}
}

// Peek returns the message that may begin next, nil when there is none.
func (p *Partition) Peek(now time.Time) *Message {
	p.due(now)
	if len(p.ready) == 0 || !p.window.admits(p.ready[0]) {
		return nil
	}
	return p.ready[0]
}

// Next begins the message that may begin next, nil when there is none.
func (p *Partition) Next(now time.Time) *Message {
	m := p.Peek(now)
	if m != nil {
		heap.Pop(&p.ready)
		p.begin(m)
	}
	return m
}

func (p *Partition) begin(m *Message) {
	p.uncount(m)
	m.state = inHand
	p.inHand++
	p.window.begin(m)
}

// Batch begins up to n messages below an offset, in the order of their offsets, whose keys
// nobody has in hand: it may hold several of one key. Messages that failed as a batch are
// one again.
func (p *Partition) Batch(now time.Time, n int, below int64) []*Message {
	first := p.Peek(now)
	if first == nil {
		return nil
	}
	if first.Single {
		n = 1
	}
	var batch, others, early []*Message
	for len(batch) < n && len(p.ready) > 0 {
		m := p.ready[0]
		if !p.window.admits(m) || m != first && m.Offset >= below {
			break
		}
		heap.Pop(&p.ready)
		if m != first && (m.Single || m.group != first.group) {
			others = append(others, m)
			continue
		}
		p.begin(m)
		batch = append(batch, m)
		if next := m.lane.after(m); next != nil && next.state == waiting && next.Record != nil {
			next.state = ready
			heap.Push(&p.ready, next)
			early = append(early, next)
		}
	}
	for _, m := range early {
		if m.state == ready {
			m.state = waiting
			if m.number >= 0 && m.number < len(p.ready) && p.ready[m.number] == m {
				heap.Remove(&p.ready, m.number)
			}
		}
	}
	for _, m := range others {
		if m.state == ready {
			heap.Push(&p.ready, m)
		}
	}
	return batch
}

// after returns the message behind m; nil: there is none.
func (l *lane) after(m *Message) *Message {
	if i := slices.Index(l.messages, m); i >= 0 && i+1 < len(l.messages) {
		return l.messages[i+1]
	}
	return nil
}

// Finish ends a message that is in hand: its call has succeeded, and what the call
// produced is acknowledged.
func (p *Partition) Finish(m *Message) {
	p.inHand--
	p.remove(m)
}

func (p *Partition) remove(m *Message) {
	p.drop(m)
	p.window.finish(m)
	l := m.lane
	i := slices.Index(l.messages, m)
	l.messages[i] = nil
	if i == 0 {
		l.messages = l.messages[1:]
	} else {
		l.messages = slices.Delete(l.messages, i, i+1)
	}
	switch {
	case len(l.messages) == 0:
		p.setFailing(l, false)
		if l.keyed {
			delete(p.lanes, l.key)
		}
	case i == 0:
		first := l.first()
		p.setFailing(l, first.Failing())
		p.mayBegin(first)
	}
}

// Return takes back a message that is in hand, as if it had not begun.
func (p *Partition) Return(m *Message) {
	p.inHand--
	p.unpause(m)
}

// Fail has messages that were in hand together wait, with all behind them in their lanes.
// A batch that is called again whole stays one.
func (p *Partition) Fail(messages []*Message, w Wait, whole bool) {
	group := int64(0)
	if whole && len(messages) > 1 {
		p.groups++
		group = p.groups
	}
	for _, m := range messages {
		p.inHand--
		p.pause(m, w)
		m.group = group
	}
}

// Hold has a message wait that may begin.
func (p *Partition) Hold(m *Message, w Wait) {
	p.take(m)
	p.pause(m, w)
}

func (p *Partition) pause(m *Message, w Wait) {
	if !m.wait.Since.IsZero() {
		w.Since = m.wait.Since
	}
	m.state, m.wait = paused, w
	p.count(m)
	if w.Until.IsZero() {
		p.parked[m] = struct{}{}
	} else {
		heap.Push(&p.paused, m)
	}
	l := m.lane
	if l.first() != m {
		return
	}
	p.setFailing(l, true)
	for i := len(l.messages) - 1; i > 0 && p.holdsTooMuch(0); i-- {
		if behind := l.messages[i]; behind.state == waiting {
			p.drop(behind)
		}
	}
}

// Forget has the record of a message, which was in hand, fetched again: it was changed.
// It is called before Fail or Return.
func (p *Partition) Forget(m *Message) { p.drop(m) }

// Close gives back what the records of p take in the shared budget. Nothing else is called
// afterwards.
func (p *Partition) Close() {
	p.o.Shared.used.held -= p.used.held
	p.o.Shared.used.queued -= p.used.queued
	p.used = used{}
}

// Resume ends all waits, and returns the messages that waited.
func (p *Partition) Resume() []*Message {
	var all []*Message
	for m := range p.parked {
		all = append(all, m)
	}
	clear(p.parked)
	all = append(all, p.paused.byOffset...)
	clear(p.paused.byOffset)
	p.paused.byOffset = p.paused.byOffset[:0]
	slices.SortFunc(all, func(a, b *Message) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, m := range all {
		p.unpause(m)
	}
	return all
}

// take takes m, which is not in hand, from where it waits.
func (p *Partition) take(m *Message) {
	switch m.state {
	case ready:
		heap.Remove(&p.ready, m.number)
	case absent:
		heap.Remove(&p.absent, m.number)
	case paused:
		if _, is := p.parked[m]; is {
			delete(p.parked, m)
		} else {
			heap.Remove(&p.paused, m.number)
		}
	}
	m.state = waiting
}

// unread returns the attempts of messages that are not read yet.
func (p *Partition) unread() []offsetmap.Failing {
	var all []offsetmap.Failing
	for offset, attempts := range p.attempts {
		if offset >= p.window.readTo {
			all = append(all, offsetmap.Failing{Offset: offset, Attempts: attempts})
		}
	}
	slices.SortFunc(all, func(a, b offsetmap.Failing) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// InHand is how many messages have begun and are not finished.
func (p *Partition) InHand() int { return p.inHand }

// Ready is how many may begin, as far as their keys are concerned.
func (p *Partition) Ready() int { return len(p.ready) }

// Due returns when the next pause ends; zero: none does by itself.
func (p *Partition) Due() time.Time {
	if len(p.paused.byOffset) == 0 {
		return time.Time{}
	}
	return p.paused.byOffset[0].wait.Until
}

// First returns the lowest unfinished message that is known; nil: none is.
func (p *Partition) First() *Message { return p.window.first }

// Offset is the lowest unfinished offset.
func (p *Partition) Offset() int64 { return p.window.base() }

// Wants reports whether more of the log should be read: fewer than so many messages may
// begin, and what would be read might.
func (p *Partition) Wants(messages int) bool {
	if len(p.ready) >= messages || p.passing || !p.window.admitsOffset(p.window.readTo) || p.window.known >= maxKnown {
		return false
	}
	if p.inHand == 0 && len(p.absent)+len(p.ready) == 0 {
		return true
	}
	return p.used.queued < p.o.Held && p.o.Shared.used.queued < p.o.Shared.Limit
}

// maxKnown bounds the unfinished messages of a partition: what is known by its offset takes
// memory as well.
const maxKnown = 1 << 16

// Waiting returns the first n messages that wait because they failed, in the order of
// their offsets, and how many there are.
func (p *Partition) Waiting(n int) ([]*Message, int) {
	all := slices.Clone(p.paused.byOffset)
	for m := range p.parked {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Message) int { return cmp.Compare(a.Offset, b.Offset) })
	return all[:min(n, len(all))], len(all)
}
