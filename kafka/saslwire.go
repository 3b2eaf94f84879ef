package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// The two requests of Kafka's SASL exchange (KIP-43, KIP-152, KIP-368), for the
// mechanism that we do ourselves.
const (
	saslHandshakeKey    = 17 // version 1
	saslAuthenticateKey = 36 // version 1, with the session's lifetime
)

// saslExchange authenticates on conn. step is given what the broker sent (nil at
// first) and returns what to answer; last tells that nothing follows. It returns
// how long the session lasts; 0: as long as the connection.
func saslExchange(ctx context.Context, conn net.Conn, clientID, mechanism string, step func(challenge []byte) (answer []byte, last bool, err error)) (time.Duration, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return 0, err
		}
		defer conn.SetDeadline(time.Time{}) //nolint:errcheck // a broken connection fails at its next use
	}
	w := saslWire{conn: conn, clientID: clientID}
	if err := w.handshake(mechanism); err != nil {
		return 0, err
	}
	var challenge []byte
	for {
		answer, last, err := step(challenge)
		if err != nil {
			return 0, err
		}
		var lifetime time.Duration
		if challenge, lifetime, err = w.authenticate(answer); err != nil {
			return 0, err
		}
		if last {
			return lifetime, nil
		}
	}
}

type saslWire struct {
	conn          net.Conn
	clientID      string
	correlationID int32
}

// mechanismError lists what the broker offers instead.
type mechanismError struct{ offered []string }

func (e *mechanismError) Error() string { return "it offers " + strings.Join(e.offered, ", ") }
func (e *mechanismError) Unwrap() error { return sarama.ErrUnsupportedSASLMechanism }

func (w *saslWire) handshake(mechanism string) error {
	r, err := w.call(saslHandshakeKey, appendString(nil, mechanism))
	if err != nil {
		return err
	}
	code := r.int16()
	offered := make([]string, 0, 4)
	for range r.count() {
		offered = append(offered, r.string())
	}
	if r.err != nil {
		return r.err
	}
	switch kerr := sarama.KError(code); kerr {
	case sarama.ErrNoError:
		return nil
	case sarama.ErrUnsupportedSASLMechanism:
		slices.Sort(offered) // brokers list them in no order
		return &mechanismError{offered}
	default:
		return kerr
	}
}

func (w *saslWire) authenticate(token []byte) (answer []byte, lifetime time.Duration, err error) {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(token)))
	r, err := w.call(saslAuthenticateKey, append(body, token...))
	if err != nil {
		return nil, 0, err
	}
	code, message := sarama.KError(r.int16()), r.string()
	answer = r.bytes()
	lifetime = time.Duration(r.int64()) * time.Millisecond
	if r.err != nil {
		return nil, 0, r.err
	}
	if code != sarama.ErrNoError {
		return nil, 0, fmt.Errorf("%w: %s", code, message)
	}
	return answer, lifetime, nil
}

// call sends a request of version 1 and returns the body of its answer.
func (w *saslWire) call(key int16, body []byte) (*reader, error) {
	w.correlationID++
	req := make([]byte, 4, 64+len(body)) // the length comes last
	req = binary.BigEndian.AppendUint16(req, uint16(key))
	req = binary.BigEndian.AppendUint16(req, 1)
	req = binary.BigEndian.AppendUint32(req, uint32(w.correlationID))
	req = append(appendString(req, w.clientID), body...)
	binary.BigEndian.PutUint32(req, uint32(len(req)-4))
	if _, err := w.conn.Write(req); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxLoginAnswer {
		return nil, &OversizedError{key, n, maxLoginAnswer}
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(w.conn, buf); err != nil {
		return nil, err
	}
	r := &reader{buf: buf}
	if id := r.int32(); r.err == nil && id != w.correlationID {
		return nil, fmt.Errorf("answer %d to request %d: not a Kafka broker", id, w.correlationID)
	}
	return r, r.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// reader takes a response apart; after an error it returns zero values.
type reader struct {
	buf []byte
	err error
}

var errShort = errors.New("answer cut short: not a Kafka broker")

func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.buf)) {
		r.err = errShort
	}
	if r.err != nil {
		return make([]byte, max(0, min(n, 8)))
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

// string reads a nullable string; null is empty.
func (r *reader) string() string { return string(r.take(max(0, int(r.int16())))) }
func (r *reader) bytes() []byte  { return bytes.Clone(r.take(max(0, int(r.int32())))) }

// count reads the length of an array, at most what its bytes can hold.
func (r *reader) count() int {
	n := int(r.int32())
	if n > len(r.buf) {
		r.err = errShort
		return 0
	}
	return n
}

// sessionConn authenticates anew before the broker ends the session (KIP-368),
// which it does at connections.max.reauth.ms. It relies on sarama's way to use a
// connection: a request is one Write, and there is one without an answer at most.
type sessionConn struct {
	net.Conn
	authenticate func() (lifetime time.Duration, err error)

	mu         sync.Mutex
	due        time.Time // guarded by mu; zero: never
	unanswered int       // guarded by mu
	frame      frameCounter
}

// newSessionConn returns conn itself when the session has no end.
func newSessionConn(conn net.Conn, lifetime time.Duration, authenticate func() (time.Duration, error)) net.Conn {
	if lifetime <= 0 {
		return conn
	}
	return &sessionConn{Conn: conn, authenticate: authenticate, due: reauthAt(lifetime)}
}

// reauthAt is when 85 to 95 % of the lifetime have passed, as Java's client does
// it: in time, and not all connections at once.
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
		lifetime, err := s.authenticate()
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
