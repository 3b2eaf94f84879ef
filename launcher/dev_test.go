package launcher

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// stand runs serveOrStandBy and returns the address that it announces.
func stand(t *testing.T, dir string) (addr string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	announced, ended := make(chan string, 2), make(chan error, 1)
	go func() { ended <- serveOrStandBy(ctx, dir, func(a string) { announced <- a }) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	select {
	case addr = <-announced:
	case err := <-ended:
		t.Fatalf("ended before it said where: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("does not say where")
	}
	t.Cleanup(stop)
	return addr, stop
}

// Programs of one module share a broker, and when the one that serves goes the
// next takes its place.
func TestOneServesAndTheOthersStandBy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	first, stopFirst := stand(t, dir)
	second, stopSecond := stand(t, dir)
	if first != second {
		t.Fatalf("brokers at %s and %s", first, second)
	}
	stopFirst()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", first)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody took over: %v", err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			return
		}
	}
	stopSecond()
	if third, _ := stand(t, dir); third != first {
		t.Errorf("started anew at %s, before at %s", third, first)
	}
}

// A broker that is about to serve holds the lock before it writes down its address. One
// that stands by meanwhile waits for the address, not for the other's end.
func TestStandByWaitsForTheAddress(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() {
		written <- os.WriteFile(filepath.Join(dir, "address"), []byte("127.0.0.1:4\n"), 0o644)
	})
	if addr, _ := stand(t, dir); addr != "127.0.0.1:4" {
		t.Errorf("announced %s", addr)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// Two that begin at the same time want the same port, and one of them gets it.
func TestBrokerTakesAnotherPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := startBroker(filepath.Join(t.TempDir(), "dev"), l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	if b.Addr() == l.Addr().String() {
		t.Errorf("broker at %s, which is taken", b.Addr())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestUntilOrphaned(t *testing.T) {
	untilOrphaned(t.Context(), -1) // our parent is another: at once
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); untilOrphaned(ctx, os.Getppid()) }()
	select {
	case <-ended:
		t.Error("our parent is alive")
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	<-ended
}
