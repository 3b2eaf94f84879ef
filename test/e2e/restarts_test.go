package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/seeds"
)

// A supervisor that has replaced its workers again and again holds no more files and
// threads than at first, and, after a thousand of them in a soak, no more memory.
func TestRestartsLeaveNothingBehind(t *testing.T) {
	rolls := 4
	soak := os.Getenv(seeds.SoakVar) != ""
	if soak {
		rolls = 500
	}
	b := newBed(t, 200)
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--parallel-workers", "2", "--control-socket", socket, "--log-level", "warn", "Journal")
	c := newControl(t, socket)
	c.statusUntil("both at work", allRunning(2))
	roll := func() {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		if err := c.Restart(ctx, "", func(ctl.Progress) {}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is made once is made
		roll()
	}
	before := holds(t, p.Pid())
	half := before
	for i := range rolls {
		roll()
		if i+1 == rolls/2 {
			half = holds(t, p.Pid())
		}
		if (i+1)%50 == 0 {
			t.Logf("after %d restarts %+v", 2*(i+1), holds(t, p.Pid()))
		}
	}
	var after holdings
	harness.Eventually(t, "files and threads to be as many as before", func() error {
		// The Go runtime keeps a thread that was needed at some time.
		if after = holds(t, p.Pid()); after.files > before.files+1 || after.threads > before.threads+4 {
			return fmt.Errorf("before %+v, after %d restarts %+v", before, 2*rolls, after)
		}
		return nil
	})
	t.Logf("before %+v, after %d restarts %+v", before, 2*rolls, after)
	// The collector lets the heap become a few MB before it runs at all; then it stays.
	// Eight restarts are too few to tell the one from the other.
	if first, then := half.memory-before.memory, after.memory-half.memory; soak && (first > 4<<20 || then > 1<<20) {
		t.Errorf("the supervisor grew by %d KiB and then by %d KiB", first>>10, then>>10)
	}
	b.awaitProcessed(b.total())
	stop(t, p)
	b.judge(b.evidence())
}

// holdings are what a process has.
type holdings struct {
	files, threads int
	memory         int64 // PSS, bytes
}

func holds(t *testing.T, pid int) holdings {
	t.Helper()
	fds, err := harness.FDs(pid)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := harness.PSS(pid)
	if err != nil {
		t.Fatal(err)
	}
	return holdings{len(fds), len(threads), memory}
}
