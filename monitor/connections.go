package monitor

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of connections: of all, and of one address, so that nobody can take all of them.
const (
	maxConnections = 256
	maxPerAddress  = 64
)

// connections keeps the server reachable: when there are too many, it closes idle ones for
// new ones, so that a probe always gets in.
type connections struct {
	net.Listener

	mu   sync.Mutex
	all  map[net.Conn]*connection
	from map[string]int // how many connections there are, by address
}

type connection struct {
	address string
	idle    time.Time // since when; zero: a request is running
}

func newConnections(ln net.Listener) *connections {
	return &connections{Listener: ln, all: map[net.Conn]*connection{}, from: map[string]int{}}
}

// Accept returns the next connection for which there is room.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil || c.admit(conn) {
			return conn, err
		}
		_ = conn.Close() // nothing was sent yet
	}
}

func (c *connections) admit(conn net.Conn) bool {
	address := addressOf(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from[address] >= maxPerAddress && !c.closeIdlest(address) {
		return false
	}
	if len(c.all) >= maxConnections && !c.closeIdlest("") {
		return false
	}
	c.all[conn] = &connection{address: address, idle: time.Now()}
	c.from[address]++
	return true
}

// closeIdlest closes the connection that has been idle for longest, of an address or, if
// that is empty, of all.
func (c *connections) closeIdlest(address string) bool {
	var idlest net.Conn
	for conn, one := range c.all {
		if one.idle.IsZero() || address != "" && one.address != address {
			continue
		}
		if idlest == nil || one.idle.Before(c.all[idlest].idle) {
			idlest = conn
		}
	}
	if idlest == nil {
		return false
	}
	_ = idlest.Close() // the server's reader notices
	c.forget(idlest)
	return true
}

func (c *connections) forget(conn net.Conn) {
	one := c.all[conn]
	if one == nil {
		return
	}
	delete(c.all, conn)
	if c.from[one.address]--; c.from[one.address] == 0 {
		delete(c.from, one.address)
	}
}

// changed is the server's ConnState function.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.all[conn]
	if one == nil {
		return
	}
	switch state {
	case http.StateActive:
		one.idle = time.Time{}
	case http.StateIdle:
		one.idle = time.Now()
	case http.StateClosed, http.StateHijacked:
		c.forget(conn)
	}
}

// addressOf returns the host of host:port. All clients of a unix socket have the same, empty
// one.
func addressOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return ""
	}
	return host
}
