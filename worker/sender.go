package worker

import (
	"sync"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// sender writes to the supervisor from a goroutine of its own, so that one that
// is stopped (and lets the socket fill up) never blocks the worker. Of frames, metrics and
// members only the newest matters; replies and the exit report are all sent.
type sender struct {
	conn *wire.Conn // nil: there is no supervisor

	wake chan struct{} // capacity 1
	done chan struct{} // closed when the goroutine is gone

	mu             sync.Mutex
	frame          *wire.Frame
	members        []status.Member
	membersChanged bool
	replies        []wire.Reply
	probed         []wire.Probed
	outages        map[string]wire.Outage // by dependency
	metrics        []byte                 // of consumer code; nil: nothing new
	last           *wire.ExitReason
	closing        bool
	delivered      bool // the supervisor has the exit report
}

func newSender(conn *wire.Conn) *sender {
	return &sender{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (s *sender) sendFrame(f wire.Frame) { s.put(func() { s.frame = &f }) }

func (s *sender) sendMembers(p []status.Member) {
	s.put(func() { s.members, s.membersChanged = p, true })
}

func (s *sender) sendMetrics(encoded []byte) {
	s.put(func() { s.metrics = append([]byte{}, encoded...) })
}

func (s *sender) sendReply(r wire.Reply) { s.put(func() { s.replies = append(s.replies, r) }) }

// sendOutages sends results of probes, all of them, and of each outage the newest state.
func (s *sender) sendOutages(probed []wire.Probed, outages []wire.Outage) {
	if len(probed)+len(outages) == 0 {
		return
	}
	s.put(func() {
		s.probed = append(s.probed, probed...)
		if s.outages == nil {
			s.outages = map[string]wire.Outage{}
		}
		for _, o := range outages {
			s.outages[o.Dependency] = o
		}
	})
}

func (s *sender) put(f func()) {
	if s.conn == nil {
		return
	}
	s.mu.Lock()
	f()
	s.mu.Unlock()
	poke(s.wake)
}

// close sends all queued messages and then the exit report, if any, and reports whether
// all was sent. It returns after wait at the latest: the supervisor sees the exit anyway.
func (s *sender) close(last *wire.ExitReason, wait time.Duration) bool {
	if s.conn == nil {
		return false
	}
	s.put(func() { s.last, s.closing = last, true })
	select {
	case <-s.done:
		return s.delivered
	case <-time.After(wait):
		return false
	}
}

// run writes until close, or until the supervisor is gone.
func (s *sender) run() {
	defer close(s.done)
	for range s.wake {
		s.mu.Lock()
		frame, members, membersChanged, replies, metrics, last, closing := s.frame, s.members, s.membersChanged, s.replies, s.metrics, s.last, s.closing
		probed, outages := s.probed, s.outages
		s.frame, s.membersChanged, s.replies, s.metrics, s.probed, s.outages = nil, false, nil, nil, nil, nil
		s.mu.Unlock()
		sent := s.writeOutages(probed, outages) && s.write(frame, members, membersChanged, replies, last, metrics)
		s.delivered = sent && closing
		if !sent || closing {
			return
		}
	}
}

// write reports whether the other side is still there.
func (s *sender) write(frame *wire.Frame, members []status.Member, membersChanged bool, replies []wire.Reply, last *wire.ExitReason, metrics []byte) bool {
	if membersChanged && s.conn.Write(wire.KindMembers, members) != nil {
		return false
	}
	if frame != nil && s.conn.WriteFrame(*frame) != nil {
		return false
	}
	for _, r := range replies {
		if s.conn.Write(wire.KindReply, r) != nil {
			return false
		}
	}
	if metrics != nil && s.conn.Write(wire.KindMetrics, wire.Metrics{Encoded: metrics}) != nil {
		return false
	}
	return last == nil || s.conn.Write(wire.KindExitReason, *last) == nil
}

// writeOutages is write for outages. The result of a probe comes before what it changes.
func (s *sender) writeOutages(probed []wire.Probed, outages map[string]wire.Outage) bool {
	for _, p := range probed {
		if s.conn.Write(wire.KindProbed, p) != nil {
			return false
		}
	}
	for _, o := range outages {
		if s.conn.Write(wire.KindOutage, o) != nil {
			return false
		}
	}
	return true
}
