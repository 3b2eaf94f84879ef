package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// An outage of what the constructor needs, once the consumer has been ready: a restart
// is refused without stopping anybody, a worker that dies waits and says for what, the
// other one goes on, and all comes back by itself.
func TestConstructorOutage(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	socket := filepath.Join(t.TempDir(), "s.sock")
	mischief := t.TempDir()
	p := b.start([]string{"JOURNAL_MISCHIEF=" + mischief}, "--parallel-workers", "2", "--worker-restart-limit", "1", "--control-socket", socket, "Journal")
	c := newControl(t, socket)
	before := c.statusUntil("two workers at work", allRunning(2))
	nodb := filepath.Join(mischief, "nodb")
	writeFile(t, nodb, "")

	err := c.Restart(t.Context(), "", discard)
	if err == nil || !strings.Contains(err.Error(), "Journal[0]: the new one ended before it took over") || !strings.Contains(err.Error(), "no database") {
		t.Errorf("restart: %v", err)
	}
	if after := c.statusUntil("two workers at work", allRunning(2)); pids(after) != pids(before) {
		t.Errorf("workers were %s and are %s", pids(before), pids(after))
	}

	if err := syscall.Kill(before.Workers[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.statusUntil("worker 1 waits for its constructor", func(st status.Status) error {
		if w := st.Workers[1]; w.State != status.Waiting || !strings.Contains(w.Detail, "no database") {
			return fmt.Errorf("%s is %s: %s", w.Name(), w.State, w.Detail)
		}
		return nil
	})
	b.produce(400)
	harness.Eventually(t, "the other worker goes on", func() error {
		if n := len(b.records()); n < 100 {
			return fmt.Errorf("%d processed", n)
		}
		return nil
	})
	if err := os.Remove(nodb); err != nil {
		t.Fatal(err)
	}
	b.awaitProcessed(b.total())
	c.statusUntil("two workers at work", allRunning(2))
	stop(t, p)
	b.judge(b.evidence())
}

// A stop does not wait for a constructor that does not return.
func TestStopDuringAConstructor(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start([]string{"JOURNAL_BOOT=hang"}, "--control-socket", socket, "Journal")
	newControl(t, socket).statusUntil("a worker that starts", func(st status.Status) error {
		if w := st.Workers[0]; w.State != status.Starting || w.PID == 0 {
			return fmt.Errorf("%s is %s", w.Name(), w.State)
		}
		return nil
	})
	within(t, "the stop", 5*time.Second, func() { stop(t, p) })
	if strings.Contains(p.Stdout(), "msg=ready") {
		t.Error("it was logged as ready")
	}
}
