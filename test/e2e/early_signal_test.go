package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/test/harness"
)

// Whoever finds the pidfile may send what a supervisor knows: it must not die of a
// HUP because it has not come that far yet. Its log keeps it at the very moment: a
// FIFO is not opened before somebody reads it.
func TestASignalRightAfterThePidfile(t *testing.T) {
	b := newBed(t, 100)
	dir := t.TempDir()
	path, log := filepath.Join(dir, "r.pid"), filepath.Join(dir, "log")
	if err := syscall.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	p := b.start(nil, "--pidfile", path, "--logfile", log, "Journal")
	var holder *pidfile.Holder
	harness.Eventually(t, "the pidfile", func() (err error) {
		holder, err = pidfile.Find(path)
		return err
	})
	defer holder.Close()
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU} {
		if err := holder.Signal(sig); err != nil {
			t.Fatalf("%v: %v", sig, err)
		}
	}
	reader, err := os.OpenFile(log, os.O_RDWR, 0) // does not wait for a writer, as it is one
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, reader) // until it is closed
	}()
	b.awaitProcessed(b.total())
	stop(t, p)
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	<-read
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error(fmt.Errorf("the pidfile is still there: %w", err))
	}
}
