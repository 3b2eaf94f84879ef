package lanes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/racecar"
)

// schedule plays random events to a Partition, and keeps a table of what must be true.
type schedule struct {
	t      *testing.T
	random *rand.Rand
	o      Options
	p      *Partition
	now    time.Time

	log      []*racecar.Message // what there is; its offsets have gaps
	next     int                // in log: the message that is read next
	finished map[int64]bool
	saved    map[int64]bool // finished by the last commit's map
	hands    [][]*Message
	base     int64
	begun    int
	dropped  int
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	random := rand.New(rand.NewPCG(seed, 7))
	s := &schedule{
		t: t, random: random, now: time.Unix(1, 0), finished: map[int64]bool{}, saved: map[int64]bool{},
		o: Options{
			Keyed:  random.IntN(4) > 0,
			Limit:  header + attemptsRoom + 8 + random.IntN(60),
			Held:   overhead * (1 + random.Int64N(40)),
			Shared: &Budget{Limit: overhead * (1 + random.Int64N(60))},
		},
	}
	offset, keys, gaps := random.Int64N(1000), 1+random.IntN(12), random.IntN(3)
	s.base = offset
	for range 50 + random.IntN(400) {
		m := &racecar.Message{Offset: offset, Value: make([]byte, random.IntN(300))}
		if random.IntN(8) > 0 {
			m.Key = fmt.Appendf(nil, "%d", random.IntN(keys))[:random.IntN(2)]
			if len(m.Key) > 0 {
				m.Key = fmt.Appendf(nil, "%d", random.IntN(keys))
			}
		}
		s.log = append(s.log, m)
		offset++
		if gaps > 0 && random.IntN(5) == 0 {
			offset += random.Int64N(int64(gaps) * 40)
		}
	}
	s.p = New(s.o, s.base, nil, nil)
	return s
}

func (s *schedule) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf(format+fmt.Sprintf(" (%+v)", s.o), args...)
}

// read reads some of the log.
func (s *schedule) read() {
	if offset, missing := s.p.Missing(); missing {
		s.dropped++
		s.p.ReadAgain()
		s.next = slices.IndexFunc(s.log, func(m *racecar.Message) bool { return m.Offset >= offset })
		if s.next < 0 {
			s.next = len(s.log)
		}
	}
	for range 1 + s.random.IntN(10) {
		if !s.p.ReadingAgain() && !s.p.Wants(1) {
			return
		}
		if s.next == len(s.log) {
			s.p.Read(s.logEnd())
			return
		}
		s.p.Add(s.log[s.next])
		s.next++
		if s.random.IntN(3) == 0 && s.next < len(s.log) {
			s.p.Read(s.log[s.next].Offset)
		}
	}
}

func (s *schedule) logEnd() int64 { return s.log[len(s.log)-1].Offset + 1 }

// begin begins one message or a batch.
func (s *schedule) begin() {
	var batch []*Message
	if s.random.IntN(2) == 0 {
		if m := s.p.Next(s.now); m != nil {
			batch = append(batch, m)
		}
	} else {
		batch = s.p.Batch(s.now, 1+s.random.IntN(10), math.MaxInt64)
	}
	for i, m := range batch {
		if i > 0 && batch[i-1].Offset >= m.Offset {
			s.fail("a batch begins %d after %d", m.Offset, batch[i-1].Offset)
		}
		if i > 0 && m.Single {
			s.fail("%d is single, in a batch of %d", m.Offset, len(batch))
		}
		s.checkBegin(m, batch[:i])
	}
	if len(batch) > 0 {
		s.begun += len(batch)
		s.hands = append(s.hands, batch)
	}
}

func (s *schedule) checkBegin(m *Message, before []*Message) {
	s.t.Helper()
	if m.Record == nil || m.Record.Offset != m.Offset {
		s.fail("%d begins without its record", m.Offset)
	}
	if s.finished[m.Offset] {
		s.fail("%d begins although it is finished", m.Offset)
	}
	if !s.o.Keyed || m.Record.Key == nil {
		return
	}
	for _, earlier := range s.log {
		if earlier.Offset >= m.Offset {
			return
		}
		if earlier.Key != nil && string(earlier.Key) == string(m.Record.Key) && !s.finished[earlier.Offset] &&
			!slices.ContainsFunc(before, func(b *Message) bool { return b.Offset == earlier.Offset }) {
			s.fail("%d begins before %d of the same key %q is finished", m.Offset, earlier.Offset, earlier.Key)
		}
	}
}

// finish ends a call: all of it, or a part, or nothing.
func (s *schedule) finish() {
	if len(s.hands) == 0 {
		return
	}
	i := s.random.IntN(len(s.hands))
	call := s.hands[i]
	s.hands = slices.Delete(s.hands, i, i+1)
	done := len(call)
	switch s.random.IntN(4) {
	case 0: // a part is done, one failed, and the others are called again
		done = s.random.IntN(len(call))
	case 1: // all failed
		done = 0
		s.failed(call, true)
	}
	if done > 0 && done < len(call) || done == 0 && call[0].state == inHand {
		s.failed(call[done:done+1], false)
		for _, m := range call[done+1:] {
			s.p.Return(m)
		}
	}
	for _, m := range call[:done] {
		s.finished[m.Offset] = true
		s.p.Finish(m)
	}
}

func (s *schedule) failed(messages []*Message, whole bool) {
	w := Wait{Since: s.now, Until: s.now.Add(time.Duration(s.random.IntN(50)))}
	if s.random.IntN(8) == 0 {
		w.Until = time.Time{}
	}
	for _, m := range messages {
		m.Attempts++
		m.Single = m.Attempts > 5
		if s.random.IntN(4) == 0 {
			s.p.Forget(m)
		}
	}
	s.p.Fail(messages, w, whole)
}

// compact removes a message from the log that nobody has in hand.
func (s *schedule) compact() {
	i := s.random.IntN(len(s.log) - 1) // the last one stays
	m := s.log[i]
	held := m.Offset < s.p.Position() && !s.finished[m.Offset]
	for known := s.p.window.first; known != nil; known = known.next {
		if known.Offset == m.Offset {
			held = known.Record != nil || known.state == inHand
		}
	}
	if held {
		return
	}
	s.log = slices.Delete(s.log, i, i+1)
	if s.next > i {
		s.next--
	}
}

// commit checks what would be committed, and that it fits.
func (s *schedule) commit() offsetmap.Metadata {
	s.t.Helper()
	offset, finished, failing := s.p.Commit()
	m := offsetmap.Metadata{Offset: offset, LeaderEpoch: 1 << 20, TopicID: offsetmap.TopicID{1, 2, 3, 4}, Starts: 2, Finished: finished, Failing: failing}
	text := m.Encode(s.o.Limit)
	got, err := offsetmap.Decode(text)
	if err != nil {
		s.fail("%q: %v", text, err)
	}
	if len(finished) > 0 && !reflect.DeepEqual(got.Finished, finished) {
		s.fail("the map of %v beyond %d does not fit: %d characters have %v", finished, offset, len(text), got.Finished)
	}
	if offset < s.base {
		s.fail("the offset moves back from %d to %d", s.base, offset)
	}
	s.base = offset
	for _, message := range s.log {
		at, done := message.Offset, s.finished[message.Offset]
		if looks := at < offset || finished.Contains(at); looks != done {
			s.fail("%d is finished: %v, and looks so: %v; %d and %v", at, done, looks, offset, finished)
		}
		if beyond := s.p.FinishedBeyond(); beyond < finished.Count() {
			s.fail("%d offsets are finished beyond %d, not %d", finished.Count(), offset, beyond)
		}
	}
	return m
}

// restart begins again at the last commit.
func (s *schedule) restart() {
	m := s.commit()
	s.p.Close()
	if used := s.o.Shared.Used(); used != 0 {
		s.fail("%d bytes are used after the end", used)
	}
	s.hands = nil
	s.p = New(s.o, m.Offset, m.Finished, m.Failing)
	s.next = slices.IndexFunc(s.log, func(r *racecar.Message) bool { return r.Offset >= m.Offset })
	if s.next < 0 {
		s.next = len(s.log)
	}
}

// drain plays until all is finished.
func (s *schedule) drain() {
	for n := 0; len(s.finished) < len(s.log) || s.left() > 0; n++ {
		if n > 100_000 {
			s.fail("%d of %d are not finished, %d in hand, read to %d of %d", s.left(), len(s.log), s.p.InHand(), s.p.Position(), s.logEnd())
		}
		s.now = s.now.Add(100)
		s.p.Resume()
		s.read()
		s.begin()
		for _, call := range s.hands {
			for _, m := range call {
				s.finished[m.Offset] = true
				s.p.Finish(m)
			}
		}
		s.hands = nil
	}
}

func (s *schedule) left() (n int) {
	for _, m := range s.log {
		if !s.finished[m.Offset] {
			n++
		}
	}
	return n
}

// Whatever the order of events: messages of a key are processed one at a time and in order,
// none is lost, none that is finished begins again, and the map fits.
func TestRandomSchedules(t *testing.T) {
	begun, full, dropped := 0, 0, 0
	for seed := range uint64(500) {
		s := newSchedule(t, seed)
		for range 600 {
			s.now = s.now.Add(time.Duration(s.random.IntN(20)))
			switch s.random.IntN(12) {
			case 0, 1, 2:
				s.read()
			case 3, 4, 5, 6:
				s.begin()
			case 7, 8, 9:
				s.finish()
			case 10:
				s.commit()
				if s.p.Full() != nil {
					full++
				}
			case 11:
				switch s.random.IntN(12) {
				case 0:
					s.restart()
				case 1:
					s.p.Resume()
				case 2, 3, 4:
					s.compact()
				}
			}
		}
		for _, call := range s.hands {
			for _, m := range call {
				s.p.Return(m)
			}
		}
		s.hands = nil
		s.drain()
		s.commit()
		if offset, _, _ := s.p.Commit(); offset < s.logEnd() {
			s.fail("all is finished, and the offset is %d of %d", offset, s.logEnd())
		}
		if used := s.p.o.Shared.Used(); used != 0 || len(s.p.lanes) > 0 || s.p.window.known != 0 || s.p.InHand() != 0 {
			s.fail("something is left: %d bytes, %d lanes, %d known", used, len(s.p.lanes), s.p.window.known)
		}
		begun, dropped = begun+s.begun, dropped+s.dropped
	}
	t.Logf("%d messages began, %d times the window was full, %d times something was read again", begun, full, dropped)
	if begun < 10_000 || full < 50 || dropped < 50 {
		t.Error("the schedules do not reach what they are to test")
	}
}
