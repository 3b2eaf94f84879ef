package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const loopback = "127.0.0.1"

// Brokers need ports that are known before they start and still free after they
// were killed, so ":0" will not do: the kernel would give the port of a dead
// broker to the next client that connects anywhere. Ports are therefore taken
// from below the ephemeral range, and held by a lock each, so that test
// processes running at the same time do not take each other's.
const (
	firstPort = 15000
	lastPort  = 29999
)

// ports are reserved until Release.
type ports struct {
	dir  string
	held []*os.File
}

// Reserve returns a free loopback port that no other process using this package
// will take until Release.
func (p *ports) Reserve() (int, error) {
	if err := os.MkdirAll(p.dir, 0o777); err != nil {
		return 0, err
	}
	const span = lastPort - firstPort + 1
	start := rand.IntN(span)
	for i := range span {
		port := firstPort + (start+i)%span
		f, err := tryLock(filepath.Join(p.dir, strconv.Itoa(port)))
		if err != nil {
			return 0, err
		}
		if f == nil {
			continue
		}
		if !bindable(port) {
			unlock(f)
			continue
		}
		p.held = append(p.held, f)
		return port, nil
	}
	return 0, fmt.Errorf("no free port on %s between %d and %d", loopback, firstPort, lastPort)
}

// Release gives all ports back.
func (p *ports) Release() {
	for _, f := range p.held {
		unlock(f)
	}
	p.held = nil
}

// bindable reports whether nobody listens on port, on any address.
func bindable(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// unlock closes a lock file, which releases it. Nothing was written to it, so
// there is nothing that could be lost.
func unlock(f *os.File) { _ = f.Close() }

// tryLock opens path and locks it for as long as the file stays open. It returns
// nil where somebody else holds the lock.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	unlock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
