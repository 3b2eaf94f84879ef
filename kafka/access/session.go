package access

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// sessionConn authenticates again before the broker ends the session, after
// connections.max.reauth.ms (KIP-368). See Dial for how to use it.
type sessionConn struct {
	net.Conn
	authenticate func() (lifetime time.Duration, err error)

	mu         sync.Mutex
	due        time.Time // guarded by mu; zero: never
	unanswered int       // guarded by mu
	frame      frameCounter

	times           sync.Mutex
	readBy, writeBy time.Time // guarded by times; the caller's deadlines
}

// newSessionConn returns conn itself when the session has no end.
func newSessionConn(conn net.Conn, lifetime time.Duration, authenticate func() (time.Duration, error)) net.Conn {
	if lifetime <= 0 {
		return conn
	}
	return &sessionConn{Conn: conn, authenticate: authenticate, due: reauthAt(lifetime)}
}

// reauthAt is after 85 to 95 % of the lifetime, as in Java's client: in time, and not for
// all connections at once.
func reauthAt(lifetime time.Duration) time.Time {
	if lifetime <= 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(float64(lifetime) * (0.85 + 0.1*rand.Float64())))
}

func (s *sessionConn) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.due.IsZero() && s.unanswered == 0 && time.Now().After(s.due) {
		began := time.Now()
		lifetime, err := s.authenticate()
		if err == nil {
			err = s.restoreDeadlines(time.Since(began))
		}
		if err != nil {
			return 0, err
		}
		s.due = reauthAt(lifetime)
	}
	n, err := s.Conn.Write(b)
	if err == nil {
		s.unanswered++
	}
	return n, err
}

func (s *sessionConn) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	s.unanswered -= s.frame.add(b[:n])
	s.mu.Unlock()
	return n, err
}

func (s *sessionConn) SetDeadline(t time.Time) error {
	if err := s.SetWriteDeadline(t); err != nil {
		return err
	}
	return s.SetReadDeadline(t)
}

func (s *sessionConn) SetReadDeadline(t time.Time) error {
	s.times.Lock()
	defer s.times.Unlock()
	s.readBy = t
	return s.Conn.SetReadDeadline(t)
}

func (s *sessionConn) SetWriteDeadline(t time.Time) error {
	s.times.Lock()
	defer s.times.Unlock()
	s.writeBy = t
	return s.Conn.SetWriteDeadline(t)
}

// restoreDeadlines sets the caller's deadlines again, which the authentication replaced by
// its own. They move by the time that it took.
func (s *sessionConn) restoreDeadlines(took time.Duration) error {
	s.times.Lock()
	defer s.times.Unlock()
	if !s.readBy.IsZero() {
		s.readBy = s.readBy.Add(took)
	}
	if !s.writeBy.IsZero() {
		s.writeBy = s.writeBy.Add(took)
	}
	return errors.Join(s.Conn.SetReadDeadline(s.readBy), s.Conn.SetWriteDeadline(s.writeBy))
}

// expectNone tells a connection made by Dial that its last request gets no response.
func expectNone(conn net.Conn) {
	switch c := conn.(type) {
	case *limitedConn:
		c.mu.Lock()
		c.asked = c.asked[:len(c.asked)-1]
		c.mu.Unlock()
		expectNone(c.Conn)
	case *firstResponseConn:
		expectNone(c.Conn)
	case *sessionConn:
		c.mu.Lock()
		c.unanswered--
		c.mu.Unlock()
	}
}

// frameCounter counts the ends of length-prefixed frames in a stream.
type frameCounter struct {
	head [4]byte
	have int   // bytes of head
	left int64 // bytes of the frame still to come, once head is whole
}

func (f *frameCounter) add(b []byte) (ends int) {
	for len(b) > 0 {
		if f.have < len(f.head) {
			n := copy(f.head[f.have:], b)
			f.have += n
			b = b[n:]
			if f.have < len(f.head) {
				return ends
			}
			f.left = int64(binary.BigEndian.Uint32(f.head[:]))
		}
		n := min(f.left, int64(len(b)))
		f.left -= n
		b = b[n:]
		if f.left == 0 {
			ends++
			f.have = 0
		}
	}
	return ends
}
