package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/seeds"
)

// A supervisor with five idle workers takes at most 12 MB and half a percent of a
// core: over ten seconds here, over a minute in a soak. The best of three counts,
// since what the rest of the machine does shows in both.
func TestAnIdleSupervisorIsSmall(t *testing.T) {
	seeds.Measure(t)
	watch := seeds.Length(10*time.Second, time.Minute)
	b := newBed(t, 0)
	b.program = filepath.Join(t.TempDir(), "app")
	release(t, b.program, "")
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--heartbeat-interval", "1", "--max-wait-time", "1", "--parallel-workers", "5", "--control-socket", socket, "Journal")
	newControl(t, socket).statusUntil("five workers at work", allRunning(5))

	const maxPSS, maxShare = 12_000_000, 0.005
	for try := 1; ; try++ {
		before, err := harness.CPU(p.Pid())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-time.After(watch) // that is what is measured
		after, err := harness.CPU(p.Pid())
		if err != nil {
			t.Fatal(err)
		}
		share := float64(after-before) / float64(time.Since(began))
		pss, err := harness.PSS(p.Pid())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%.1f MB (PSS), %.2f %% of a core over %v", float64(pss)/1e6, 100*share, watch)
		if pss <= maxPSS && share <= maxShare {
			break
		}
		if try == 3 {
			t.Errorf("more than %d MB or %.1f %%, three times", maxPSS/1_000_000, 100*maxShare)
			break
		}
	}
	stop(t, p)
}

// Workers that leak are drained and replaced when they are above
// worker_memory_limit, one after the other: nothing comes twice, nobody
// rebalances. (The race detector's own memory would count as theirs.)
func TestLeakingWorkersAreReplaced(t *testing.T) {
	seeds.Measure(t)
	x := newProduct(t, []string{"JOURNAL_LEAK=128"}, 200, "--worker-memory-limit", "120MiB")
	x.c.statusUntil("both replaced", func(st status.Status) error {
		if n := st.RestartsBy["memory"]; n < 2 {
			return fmt.Errorf("%d replaced for their memory", n)
		}
		return allRunning(2)(st)
	})
	x.over()

	// One at a time: between the two decisions the first one's successor ran.
	var order []string
	for _, l := range logLines(x.p.Stdout()) {
		switch {
		case l.msg == "worker is replaced":
			if !strings.HasPrefix(l.fields["reason"], "memory: ") || !strings.HasSuffix(l.fields["reason"], "more than worker_memory_limit (120 MiB)") {
				t.Errorf("reason %q", l.fields["reason"])
			}
			order = append(order, "replaced")
		case l.fields["state"] == "running" && len(order) > 0:
			order = append(order, "runs")
		}
	}
	if got := strings.Join(order[:min(3, len(order))], " "); got != "replaced runs replaced" {
		t.Errorf("in this order: %v", order)
	}
}
