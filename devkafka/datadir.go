package devkafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/owner"
)

// What lies in a data directory.
const (
	kafkaDir = "kafka"   // kfake's files
	lockFile = "lock"    // held by the broker that serves the directory
	addrFile = "address" // where it listens, or last did
)

// dataDir is a data directory that this process holds the lock of. A nil one
// stands for "in memory": its methods do nothing.
type dataDir struct {
	path  string
	kafka string
	lock  *os.File
}

// openDataDir makes the directory when missing and locks it. The lock belongs
// to the open file: it goes with the process, however that ends.
func openDataDir(path string) (*dataDir, error) {
	if path == "" {
		return nil, nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("embedded broker: data directory: %w", err)
	}
	if err := owner.Trusted(path); err != nil {
		return nil, fmt.Errorf("embedded broker: data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: data directory: %w", err)
	}
	switch err := takeLock(int(lock.Fd())); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		_ = lock.Close() // nothing was written
		return nil, &InUseError{Dir: path, Addr: lastAddr(path)}
	case err != nil:
		_ = lock.Close() // likewise
		return nil, fmt.Errorf("embedded broker: lock %s: %w", lock.Name(), err)
	}
	return &dataDir{path: path, kafka: filepath.Join(path, kafkaDir), lock: lock}, nil
}

// takeLock locks a file. It waits for those that only check whether a broker serves the
// directory: they share the lock for a moment, and a broker does not share it.
func takeLock(fd int) error {
	for {
		err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if err := syscall.Flock(fd, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			return err
		}
		if err := syscall.Flock(fd, syscall.LOCK_UN); err != nil {
			return err
		}
		<-time.After(sharedPause) // nothing tells when a lock is free
	}
}

// sharedPause is the time between two attempts while others share the lock.
const sharedPause = 5 * time.Millisecond

// WaitFree returns once no broker serves the data directory, or when ctx ends.
// Another broker may be faster than the caller's Start: then wait again.
func WaitFree(ctx context.Context, path string) error {
	// flock can only be asked or waited for without end: ask, ten times a second.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if busy, err := served(path); err != nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// served reports whether a broker serves a data directory.
func served(path string) (bool, error) {
	lock, err := os.Open(filepath.Join(path, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("embedded broker: data directory: %w", err)
	}
	defer lock.Close()
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func (d *dataDir) setAddr(addr string) error {
	if d == nil {
		return nil
	}
	path := filepath.Join(d.path, addrFile)
	err := os.WriteFile(path+".new", []byte(addr+"\n"), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path) // at once: others read it at any time
	}
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	return nil
}

// lastPort is the port on which the directory was last served, or 0.
func (d *dataDir) lastPort() int {
	if d == nil {
		return 0
	}
	_, port, err := net.SplitHostPort(lastAddr(d.path))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return 0
	}
	return n
}

func lastAddr(path string) string {
	b, err := os.ReadFile(filepath.Join(path, addrFile))
	if err != nil {
		return "" // never served; a hint only
	}
	return strings.TrimSpace(string(b))
}

func (d *dataDir) close() error {
	if d == nil {
		return nil
	}
	if err := d.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("embedded broker: %w", err)
	}
	return nil
}
