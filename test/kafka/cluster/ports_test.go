package cluster

import (
	"net"
	"strconv"
	"testing"
)

func TestPortsAreNotGivenTwice(t *testing.T) {
	dir := t.TempDir()
	// Two of them stand for two processes: locks belong to open files.
	a, b := ports{dir: dir}, ports{dir: dir}
	defer a.Release()
	defer b.Release()
	seen := map[int]bool{}
	for range 200 {
		for _, p := range []*ports{&a, &b} {
			port, err := p.Reserve()
			if err != nil {
				t.Fatal(err)
			}
			if seen[port] || port < firstPort || port > lastPort {
				t.Fatalf("port %d was given", port)
			}
			seen[port] = true
		}
	}
}

func TestBindable(t *testing.T) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	if bindable(port) {
		t.Error("a port in use is bindable")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !bindable(port) {
		t.Error("a free port is not bindable")
	}
}
