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

// Dial returns a connection to the broker at addr (host:port) that is ready for requests:
// TLS and SASL are done, and the connection authenticates again by itself before the
// broker ends the session (KIP-368). ctx bounds the dialing and not the connection.
//
// How to use the connection:
//   - Send each request, with its length prefix, in one Write.
//   - Read responses in one goroutine, in pieces of any size, and only while a request is
//     unanswered. The connection authenticates again within a Write, when no request is
//     unanswered: do not always have one in flight.
//   - Set deadlines: a request may take SocketTimeout. The first response has to come
//     sooner, see FirstAnswer.
//   - Close the connection when Read fails: it also fails for a response that is larger
//     than its kind may be, or that has no request.
//
// Errors that concern security are a *BrokerError; see Permanent.
func (a *Access) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return a.dial(ctx, addr, func(net.Conn) error { return nil })
}

// Dialer makes connections as Dial does and remembers them, so that Drop and
// Abort can cut them while sarama waits for a response: sarama holds its locks while
// it waits, and cannot be interrupted.
type Dialer struct {
	access *Access
	wrap   func(net.Conn) net.Conn // nil: as it is
	base   context.Context         // nothing is dialed after its end

	mu     sync.Mutex
	ctx    context.Context // guarded by mu; cancels the running dials, renewed by Drop
	cancel context.CancelFunc
	ended  bool       // guarded by mu; by Abort
	conns  []net.Conn // guarded by mu; raw ones; closed ones are removed at the next dial
}

var _ proxy.Dialer = (*Dialer)(nil)

// Dialer returns a dialer whose connections end with ctx, by CloseConnections or by Abort.
// wrap, if not nil, is applied to each connection made.
func (a *Access) Dialer(ctx context.Context, wrap func(net.Conn) net.Conn) *Dialer {
	d := &Dialer{access: a, wrap: wrap, base: ctx}
	d.ctx, d.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, d.CloseConnections)
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

// dial makes a connection unless life ends first. remember gets the connection before
// anything is sent, and may reject it.
func (a *Access) dial(life context.Context, addr string, remember func(net.Conn) error) (net.Conn, error) {
	if err := a.checkAdvertised(addr); err != nil {
		return nil, err
	}
	timeout := a.firstTimeouts.timeout(addr, a.timeout)
	ctx, cancel := context.WithTimeout(life, timeout)
	conn, err := a.connect(ctx, addr, remember)
	silent := err != nil && ctx.Err() != nil && life.Err() == nil
	cancel()
	if err == nil && a.mechanism != nil {
		conn, err = a.authenticate(life, conn, addr, timeout)
		_, silent = errors.AsType[*silentError](err)
	}
	if err != nil {
		a.firstTimeouts.note(addr, !silent, timeout)
		return nil, a.NoteResult(addr, err)
	}
	return &limitedConn{Conn: &firstResponseConn{Conn: conn, timeouts: a.firstTimeouts, addr: addr, timeout: timeout}}, nil
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

// hostName matches the hosts that a broker may advertise: a name, or an address without
// a zone. Kerberos principals, environments of commands and log lines contain it.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._:][A-Za-z0-9._:-]*$`)

// maxHostName is the maximum length of a name in the DNS.
const maxHostName = 253

// checkAdvertised rejects an invalid address that a broker advertised. It does not check
// configured addresses: those can harm only the user who wrote them.
func (a *Access) checkAdvertised(addr string) error {
	if slices.Contains(a.addresses, addr) {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || len(host) > maxHostName || !hostName.MatchString(host) {
		return &BrokerError{Temporary: true, Problem: fmt.Sprintf("a broker advertises the address %.300q, which is not a valid host and port: see advertised.listeners in its configuration", addr)}
	}
	return nil
}

// keepAlive detects a vanished peer after 30 s, on connections without traffic too.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Abort closes all connections and makes all later dials fail.
func (d *Dialer) Abort() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.CloseConnections()
}

// CloseConnections closes all connections and cancels the running dials. New connections can be
// made.
func (d *Dialer) CloseConnections() {
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

// remember rejects a connection if Drop was called while it was being made.
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
