package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

// Dial returns a connection to the broker at addr (host:port) on which requests can
// be sent: TLS and SASL are done, and done again by the connection itself before the
// broker ends the session (KIP-368). ctx bounds the dialing and not the connection.
//
// How to use the connection:
//   - Each request is one Write, with its length in front, as Kafka's protocol has it.
//   - The answers may be read in pieces of any size, by one goroutine, and only while
//     an answer is due: a session is renewed within a Write that finds no request
//     unanswered, so whoever always has one under way pauses when RenewalDue says so.
//   - Deadlines are the caller's: SocketTimeout is how long a request may take. The
//     first answer has to come sooner (see FirstAnswer).
//   - An answer that is larger than its kind may be, or that was not asked for, is an
//     error of Read: close the connection.
//
// An error is an *Error where it concerns security; see Permanent.
func (a *Access) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return a.dial(ctx, addr, func(net.Conn) error { return nil })
}

// Dialer makes connections as Dial does and remembers them, so that Drop and
// Interrupt can cut off whatever waits for an answer: sarama holds its locks while it
// waits, and cannot be asked to stop.
type Dialer struct {
	access *Access
	wrap   func(net.Conn) net.Conn // nil: as it is
	base   context.Context         // nothing is dialed after its end

	mu     sync.Mutex
	ctx    context.Context // guarded by mu; ends the dials under way, renewed by Drop
	cancel context.CancelFunc
	ended  bool       // guarded by mu; by Interrupt
	conns  []net.Conn // guarded by mu; raw ones; closed ones are removed at the next dial
}

var _ proxy.Dialer = (*Dialer)(nil)

// Dialer returns a dialer whose connections end with ctx, by Drop or by Interrupt.
// wrap, if not nil, is applied to each connection made.
func (a *Access) Dialer(ctx context.Context, wrap func(net.Conn) net.Conn) *Dialer {
	d := &Dialer{access: a, wrap: wrap, base: ctx}
	d.ctx, d.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, d.Drop)
	return d
}

// Dial implements proxy.Dialer.
func (d *Dialer) Dial(_, addr string) (net.Conn, error) {
	d.mu.Lock()
	life := d.ctx
	d.mu.Unlock()
	conn, err := d.access.dial(life, addr, func(raw net.Conn) error { return d.remember(life, raw) })
	if err == nil && d.wrap != nil {
		conn = d.wrap(conn)
	}
	return conn, err
}

// dial makes a connection while life lasts. remember gets it before anything is sent,
// and may refuse it.
func (a *Access) dial(life context.Context, addr string, remember func(net.Conn) error) (net.Conn, error) {
	if err := a.checkAdvertised(addr); err != nil {
		return nil, err
	}
	patience := a.silences.patience(addr, a.timeout)
	ctx, cancel := context.WithTimeout(life, patience)
	conn, err := a.connect(ctx, addr, remember)
	silent := err != nil && ctx.Err() != nil && life.Err() == nil
	cancel()
	if err == nil && a.mechanism != nil {
		conn, err = a.authenticate(life, conn, addr, patience)
		_, silent = errors.AsType[*silentError](err)
	}
	if err != nil {
		a.silences.note(addr, !silent, patience)
		return nil, a.Judge(addr, err)
	}
	return &answerConn{Conn: &untriedConn{Conn: conn, silences: a.silences, addr: addr, patience: patience}}, nil
}

// connect makes the connection, with TLS where configured.
func (a *Access) connect(ctx context.Context, addr string, remember func(net.Conn) error) (net.Conn, error) {
	nd := net.Dialer{KeepAliveConfig: keepAlive}
	raw, err := nd.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := remember(raw); err != nil {
		_ = raw.Close() // nothing was sent
		return nil, err
	}
	if a.tls == nil {
		return raw, nil
	}
	conn, err := a.tls.handshake(ctx, raw, addr)
	if err != nil {
		return nil, err // not a nil *tls.Conn in an interface
	}
	return conn, nil
}

// hostName is what a broker may advertise as its host: a name or an address without
// a zone. It goes into Kerberos principals, the environment of commands and log lines.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._:][A-Za-z0-9._:-]*$`)

// maxHostName is how long a name in the DNS may be.
const maxHostName = 253

// checkAdvertised refuses an address that brokers gave us and that is none. What
// the user configured is not checked: only its author can be harmed by it.
func (a *Access) checkAdvertised(addr string) error {
	if slices.Contains(a.addresses, addr) {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || len(host) > maxHostName || !hostName.MatchString(host) {
		return &Error{Passes: true, Problem: fmt.Sprintf("a broker advertises the address %.300q, which is no host and port: see advertised.listeners in its configuration", addr)}
	}
	return nil
}

// keepAlive notices a peer that vanished while nothing is sent after 30 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Interrupt closes all connections and fails all dials from now on.
func (d *Dialer) Interrupt() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.Drop()
}

// Drop closes all connections and ends the dials under way. New connections may
// be made.
func (d *Dialer) Drop() {
	d.mu.Lock()
	d.cancel()
	if !d.ended {
		d.ctx, d.cancel = context.WithCancel(d.base)
	}
	conns := d.conns
	d.conns = nil
	d.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // already closed, most of the time
	}
}

// remember refuses a connection that was dropped while it was being made.
func (d *Dialer) remember(life context.Context, raw net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if life.Err() != nil {
		return context.Cause(life)
	}
	live := d.conns[:0]
	for _, c := range d.conns {
		if !isClosed(c) {
			live = append(live, c)
		}
	}
	clear(d.conns[len(live):])
	d.conns = append(live, raw)
	return nil
}

func isClosed(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	return rc.Control(func(uintptr) {}) != nil
}
