package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// memoryGroup creates a control group that limits memory and returns the file that lists
// its processes.
func memoryGroup(t *testing.T, bytes int64) (procs string) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	mount, limit, path := "", "", ""
	for l := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(l), ":", 3)
		switch {
		case len(f) != 3:
		case strings.Contains(","+f[1]+",", ",memory,"):
			mount, limit, path = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", f[2]
		case f[0] == "0" && mount == "":
			mount, limit, path = "/sys/fs/cgroup", "memory.max", f[2]
		}
	}
	dir := filepath.Join(mount, path, fmt.Sprintf("racecar-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group can be made here, so only the fake one of package supervisor's tests is tested: %v", err)
	}
	t.Cleanup(func() {
		harness.Eventually(t, "the control group removed", func() error { return os.Remove(dir) })
	})
	if err := os.WriteFile(filepath.Join(dir, limit), fmt.Append(nil, bytes), 0o600); err != nil {
		t.Skipf("memory cannot be bounded here, so only the fake control group of package supervisor's tests is tested: %v", err)
	}
	return filepath.Join(dir, "cgroup.procs")
}

// A message for which the kernel kills its worker, out of memory, is recognized: after
// three times its partition is poisoned with the reason, and all others continue.
func TestOutOfMemory(t *testing.T) {
	procs := memoryGroup(t, 450<<20)
	t.Parallel()
	b := newBed(t, 400)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s.sock")
	b.program = "/bin/sh"
	b.prefix = []string{"-c", `echo $$ >"$0" && exec "$@"`, procs, exe}
	p := b.start([]string{"JOURNAL_TRAP=3-7=alloc"}, "--parallel-workers", "2", "--control-socket", socket, "Journal")
	c := newControl(t, socket)
	st := c.statusUntil("the partition poisoned", func(st status.Status) error {
		for _, w := range st.Workers {
			if w.Report == nil {
				continue
			}
			for _, part := range w.Report.Partitions {
				if part.State == status.PartitionPoisoned {
					if part.Partition != 3 || part.Position != 7 || !strings.Contains(part.Reason, "out of memory") {
						t.Errorf("poisoned: %+v", part)
					}
					return nil
				}
			}
		}
		return fmt.Errorf("restarts %v", st.RestartsBy)
	})
	// More than three when the kernel, asked again before the first one's memory was
	// free, took the other worker as well; the supervisor it may not take.
	if st.RestartsBy["oom"] < 3 || len(st.RestartsBy) != 1 {
		t.Errorf("restarts %v, want 3 for oom", st.RestartsBy)
	}
	own := killPreference(t, p.Pid())
	for pid := range pidsOf(p) {
		if n := killPreference(t, pid); n <= own {
			t.Errorf("the kernel may take the supervisor (%d) rather than worker %d (%d)", own, pid, n)
		}
	}
	b.awaitProcessed(b.total() - 50 + 7)
	stop(t, p)
	var died uint64
	for _, l := range logLines(p.Stdout()) {
		if l.msg == "worker died" && l.fields["reason"] == "killed by the kernel: out of memory" {
			died++
		}
	}
	if died != st.RestartsBy["oom"] {
		t.Errorf("the log names the reason %d times, but restarts are %v", died, st.RestartsBy)
	}
	e := b.evidence()
	e.Unfinished = true
	e.AllowedRepeats = int(died) * b.total() // of each death what the next commit would have had
	b.judge(e)
}

// killPreference reads how much the kernel prefers a process when memory is short.
func killPreference(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
