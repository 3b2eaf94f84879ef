package kafka

import (
	"context"
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

// dialer makes the connections of a client. TLS, Kerberos and the size of answers
// are its business. It remembers the connections, so that drop and interrupt can cut
// off whatever waits for an answer: sarama holds its locks while it waits, and cannot
// be asked to stop.
type dialer struct {
	silences *silences // shared by all that are bound
	access   *Access   // makes the connection one that requests may be sent on; nil: plaintext
	timeout  time.Duration
	wrap     func(net.Conn) net.Conn // nil: as it is

	base context.Context // nothing is dialed after its end; nil: not bound, see bind

	mu     sync.Mutex
	ctx    context.Context // guarded by mu; ends the dials under way, renewed by drop
	cancel context.CancelFunc
	ended  bool       // guarded by mu; by interrupt
	conns  []net.Conn // guarded by mu; raw ones; closed ones are removed at the next dial
}

var _ proxy.Dialer = (*dialer)(nil)

// newDialer returns what NewConfig hands out: a template that may be shared and
// whose connections nobody can interrupt.
func newDialer(a *Access, timeout time.Duration) *dialer {
	return &dialer{access: a, timeout: timeout, silences: &silences{allowed: map[string]time.Duration{}}}
}

// bind returns a dialer of the same settings whose connections end with ctx, by
// drop or by interrupt. wrap, if not nil, is applied to each connection made.
func (d *dialer) bind(ctx context.Context, wrap func(net.Conn) net.Conn) *dialer {
	b := &dialer{access: d.access, timeout: d.timeout, silences: d.silences, wrap: wrap, base: ctx}
	b.ctx, b.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, b.drop)
	return b
}

// Dial implements proxy.Dialer.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	if err := d.checkAdvertised(addr); err != nil {
		return nil, err
	}
	life := context.Background()
	if d.base != nil {
		d.mu.Lock()
		life = d.ctx
		d.mu.Unlock()
	}
	patience := d.silences.patience(addr, d.timeout)
	limit := patience
	if d.access != nil && d.access.kerberos != nil { // which asks others than the broker
		limit = d.timeout
	}
	ctx, cancel := context.WithTimeout(life, limit)
	defer cancel()
	nd := net.Dialer{KeepAliveConfig: keepAlive}
	raw, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		d.silences.note(addr, ctx.Err() == nil || life.Err() != nil, limit)
		return nil, err
	}
	if !d.remember(life, raw) {
		_ = raw.Close() // nothing was sent
		return nil, context.Cause(life)
	}
	conn := raw
	if d.access != nil {
		if conn, err = d.access.secure(ctx, raw, addr); err != nil {
			d.silences.note(addr, ctx.Err() == nil || life.Err() != nil, limit)
			return nil, d.access.judge(addr, err)
		}
	}
	conn = &answerConn{Conn: &untriedConn{Conn: conn, silences: d.silences, addr: addr, patience: patience}}
	if d.wrap != nil {
		conn = d.wrap(conn)
	}
	return conn, nil
}

// hostName is what a broker may advertise as its host: a name or an address without
// a zone. It goes into Kerberos principals, the environment of commands and log lines.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._:][A-Za-z0-9._:-]*$`)

// checkAdvertised refuses an address that brokers gave us and that is none. What
// the user configured is not checked: only its author can be harmed by it.
func (d *dialer) checkAdvertised(addr string) error {
	if d.access != nil && slices.Contains(Brokers(d.access.c), addr) {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || len(host) > maxHostName || !hostName.MatchString(host) {
		return &AccessError{Passes: true, Problem: fmt.Sprintf("a broker advertises the address %.300q, which is no host and port: see advertised.listeners in its configuration", addr)}
	}
	return nil
}

// maxHostName is how long a name in the DNS may be.
const maxHostName = 253

// keepAlive notices a peer that vanished while nothing is sent after 30 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// interrupt closes all connections and fails all dials from now on.
func (d *dialer) interrupt() {
	if d.base == nil {
		return
	}
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.drop()
}

// drop closes all connections and ends the dials under way. New connections may
// be made.
func (d *dialer) drop() {
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

// remember reports whether the connection may be used: false when it was
// dropped while it was being made.
func (d *dialer) remember(life context.Context, raw net.Conn) bool {
	if d.base == nil {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if life.Err() != nil {
		return false
	}
	live := d.conns[:0]
	for _, c := range d.conns {
		if !isClosed(c) {
			live = append(live, c)
		}
	}
	clear(d.conns[len(live):])
	d.conns = append(live, raw)
	return true
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
