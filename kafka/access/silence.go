package access

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// This file detects frozen brokers, which accept connections and never answer.

// FirstAnswer is the timeout of the first response on a new connection, unless
// socket_timeout is shorter. A frozen broker accepts connections and never answers, and
// another broker can answer most requests. The timeout doubles each time an address does
// not answer, in case that broker is only slow.
const FirstAnswer = 3 * time.Second

// firstTimeouts holds the first-response timeouts of addresses that did not answer in time.
type firstTimeouts struct {
	mu      sync.Mutex
	allowed map[string]time.Duration // guarded by mu
}

func newFirstTimeouts() *firstTimeouts { return &firstTimeouts{allowed: map[string]time.Duration{}} }

// timeout returns the current first-response timeout of addr, at most limit.
func (s *firstTimeouts) timeout(addr string, limit time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(limit, max(FirstAnswer, s.allowed[addr]))
}

// note records whether addr answered within the timeout.
func (s *firstTimeouts) note(addr string, answered bool, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered {
		delete(s.allowed, addr)
	} else { // several may have waited at the same time
		s.allowed[addr] = max(s.allowed[addr], 2*timeout)
	}
}

// firstResponseConn bounds the wait for the first response on a connection. sarama would wait two
// or three times socket_timeout: it repeats its first request in an older version.
type firstResponseConn struct {
	net.Conn
	timeouts *firstTimeouts
	addr     string
	timeout  time.Duration
	answered atomic.Bool
}

func (c *firstResponseConn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

func (c *firstResponseConn) SetReadDeadline(t time.Time) error {
	if first := time.Now().Add(c.timeout); !c.answered.Load() && t.After(first) {
		t = first
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *firstResponseConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.answered.Load() {
		return n, err
	}
	if n > 0 {
		c.answered.Store(true)
		c.timeouts.note(c.addr, true, c.timeout)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.timeouts.note(c.addr, false, c.timeout)
		_ = c.Close() // it must not be used any more
		err = &silentError{addr: c.addr, after: c.timeout}
	}
	return n, err
}

// silentError reports a broker that did not answer on a new connection.
type silentError struct {
	addr  string
	after time.Duration
}

func (e *silentError) Error() string { return fmt.Sprintf("%s: no answer within %v", e.addr, e.after) }

// Is makes sarama close the connection, which it would keep open after a timeout.
func (e *silentError) Is(target error) bool { return target == syscall.ENOTCONN }

// Timeout and Temporary make it a net.Error.
func (e *silentError) Timeout() bool   { return true }
func (e *silentError) Temporary() bool { return true }
