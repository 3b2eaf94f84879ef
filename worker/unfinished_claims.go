package worker

import (
	"errors"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
)

// unfinished counts claims that did not end gracefully. A supervisor knows the messages
// that its worker had in hand at its death. When both die together, as in a container that
// runs out of memory (memory.oom.group), nobody knows, and a message that kills them
// would do so forever. So each claim counts itself in the
// metadata of the position it begins with, before anything is processed, and takes that
// back at a graceful end: what is found there is how many claims in a row have not ended
// gracefully. That needs neither disk nor host.
//
//   - After one, positions are committed after each quantum, so that the message is near.
//   - After two, messages are called alone for a while, one by one, each counted at its
//     position before it is called: a death beside something else is counted for nothing.
//   - A message found with three (wire.PoisonedAfter) has killed its process, and is
//     treated like every poisoned message.
//
// A worker that replaces one of the same supervisor does not count the predecessor.
type unfinished struct {
	begin      int64     // position that the claim began with
	attributed bool      // the message it began with was found with too many: no other is suspected
	found      int       // claims before this one, as found there
	count      int       // with this one
	isolated   int64     // position whose message is called alone and counted; negative: none
	ended      bool      // this one ends gracefully
	careful    time.Time // until when messages may be those of before; zero: none was called yet
	single     time.Time // until when they are called alone; likewise
}

const (
	// suspectAfter is after how many unfinished claims messages are called alone.
	suspectAfter = wire.PoisonedAfter - 1
	// singleFor is how long they are: claims before have committed after each quantum.
	singleFor = 10 * time.Second
	// carefulFor is how long positions are committed after each quantum, besides twice the time
	// that may pass between two commits.
	carefulFor = 30 * time.Second
)

// startedAfter notes how many claims in a row did not end gracefully at the position that
// p begins with.
func (p *partition) startedAfter(found int, replaces bool) {
	if replaces && found > 0 {
		found--
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfinished = unfinished{begin: p.acks.processed.Load(), found: found, count: found, isolated: noPosition}
	if found < suspectAfter {
		p.unfinished.count++
	}
}

// startsAt is the count to be committed with a position. Called with p.mu held.
func (u *unfinished) startsAt(position int64, now time.Time) int {
	inTime := u.found > 0 && !u.attributed && (u.careful.IsZero() || now.Before(u.careful))
	switch {
	case u.ended && (position == u.begin || inTime):
		return u.found
	case u.ended:
		return 0
	case position == u.isolated:
		return u.found + 1
	case position == u.begin, inTime: // the message may lie behind it
		return u.count
	}
	return 0
}

// moved notes that the position has moved over what is no message.
func (u *unfinished) moved(from, to int64) {
	if u.begin == from {
		u.begin = to
	}
	if u.isolated == from && u.isolated != noPosition {
		u.isolated = to
	}
}

// isCareful reports whether positions are committed after each quantum, isSingle whether
// messages are called alone.
func (p *partition) isCareful(now time.Time) bool { return p.within(1, now, p.unfinished.careful) }
func (p *partition) isSingle(now time.Time) bool {
	return p.within(suspectAfter, now, p.unfinished.single)
}

// within is for the executor, which alone changes what it reads once p is served.
func (p *partition) within(found int, now, until time.Time) bool {
	return p.unfinished.found >= found && !p.unfinished.attributed && (until.IsZero() || now.Before(until))
}

// announce counts the next message before it is called alone; false when the count is
// not committed (yet). It waits for the commit, as nothing else may be in hand
// while the message is counted and not called. The executor owns p.
func (e *executor) announce(p *partition) bool {
	if !p.suspect || !p.isSingle(e.t.clock.now()) {
		return true
	}
	if p.acks.outstanding.Load() != 0 {
		p.inst.delivery.sendOutput(p) // the position must be that of the message
		p.awaitsAll = true
		return false
	}
	p.setIsolated(p.acks.processed.Load())
	if p.confirmed(p.commitPoint()) {
		return true
	}
	err := p.m.commits.flush(p.untilLeaving(), p)
	if _, refused := errors.AsType[*refusedError](err); refused && p.inst.delivery.loopCommits() {
		return true // a commit that is refused holds up nobody
	}
	if err != nil {
		e.t.holdFor(p, time.Second, heldBy{hold: holdBackoff, reason: oneLine(err)})
		return false
	}
	return true
}

// setIsolated says at which position a message is called alone.
func (p *partition) setIsolated(position int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfinished.isolated = position
}

// survived notes that p's process has outlived a quantum: a call in it is over if the
// position has moved, or one has failed. How long p is careful counts from the first one.
func (e *executor) survived(p *partition, failed bool) {
	u := &p.unfinished
	position := p.acks.processed.Load()
	if u.found == 0 || !failed && (position == u.isolated || position == u.begin) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u.survived(e.t.clock.now(), e.w.cfg.OffsetCommitInterval)
}

// survivedCall notes the same for calls in lanes, and reports whether positions are
// committed after each of them, and whether and until when messages are called alone.
func (p *partition) survivedCall(failed bool, now time.Time, every time.Duration) (careful, single bool, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &p.unfinished
	if position := p.acks.processed.Load(); u.found != 0 && (failed || position != u.isolated && position != u.begin) {
		u.survived(now, every)
	}
	return p.within(1, now, u.careful), p.within(suspectAfter, now, u.single), u.single
}

// survived notes that a call is over. Called with p.mu held.
func (u *unfinished) survived(now time.Time, every time.Duration) {
	u.isolated = noPosition
	if u.careful.IsZero() {
		u.single = now.Add(singleFor)
		u.careful = now.Add(carefulFor + 2*every)
	}
}

// endGracefully takes the count of this claim back: its calls are over.
func (p *partition) endGracefully() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfinished.ended, p.unfinished.isolated = true, noPosition
}

// outlived is what is known of a claim that has ended while its process lives.
type outlived struct {
	committed kafka.Commit // last
	found     int          // claims before it that did not end gracefully
	position  int64
	topicID   [16]byte // of the topic that it was in
}

func (p *partition) outlived() outlived {
	p.mu.Lock()
	defer p.mu.Unlock()
	return outlived{kafka.Commit{Offset: p.committed.Load(), Metadata: p.committedMetadata}, p.unfinished.found, p.acks.processed.Load(), p.topicID}
}

// ownClaim is our last claim of k, if nobody has committed since, or its topic was deleted.
func (m *membership) ownClaim(k topicPartition, committed kafka.Commit) (outlived, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	own, ended := m.outlived[k]
	committed.Epoch = 0
	return own, ended && (own.committed == committed || committed.Offset < 0)
}

// poisoned returns the message at p's position as a suspect if it was found with too
// many unfinished claims. That holds once: messages behind it are not suspects.
func (p *partition) poisoned() *wire.Suspect {
	messages := p.cursor.chunk[p.cursor.index:]
	if len(messages) == 0 {
		return nil
	}
	return p.poisonedAt(messages[0].Offset)
}

// poisonedAt is poisoned for the message at p's position, which has this offset.
func (p *partition) poisonedAt(offset int64) *wire.Suspect {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &p.unfinished
	if u.attributed || u.found < wire.PoisonedAfter || p.acks.processed.Load() != u.begin {
		return nil
	}
	s := &wire.Suspect{
		Topic: p.topic, Partition: p.partition, FirstOffset: offset, LastOffset: offset,
		Deaths: u.found, Reason: "worker and supervisor died together",
	}
	u.attributed = true
	return s
}
