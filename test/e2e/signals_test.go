package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// Each signal of the table does what it says, with messages flowing all the while:
// none lost, none twice.
func TestSignalTable(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--parallel-workers", "2", "--control-socket", socket, "Journal")
	c := newControl(t, socket)
	first := c.statusUntil("two at work", allRunning(2))
	// What a terminal sends (Ctrl-C, say) goes to a session's processes: workers have
	// one of their own and hear of it from the supervisor, once.
	for _, w := range first.Workers {
		if sid, err := unix.Getsid(w.PID); err != nil || sid != w.PID {
			t.Errorf("%s (pid %d) is in session %d, %v", w.Name(), w.PID, sid, err)
		}
	}
	s := b.stream(100)

	p.Signal(syscall.SIGUSR1)
	// Supervisor and workers print what is in effect, and where it comes from.
	harness.Eventually(t, "three configurations", func() error {
		if n := strings.Count(p.Stderr(), "heartbeat_interval = 0.2"); n != 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	headings := []string{fmt.Sprintf("=> Configuration of Journal, as the supervisor has it (PID = %d)\n", p.Pid())}
	for _, w := range first.Workers {
		headings = append(headings, fmt.Sprintf("=> Configuration of %s (PID = %d)\n", w.Name(), w.PID))
	}
	for _, heading := range headings {
		if strings.Count(p.Stderr(), heading) != 1 {
			t.Errorf("not once on stderr: %s", heading)
		}
	}
	if !strings.Contains(p.Stderr(), "--heartbeat-interval") {
		t.Error("the source of a value is not named")
	}

	p.Signal(syscall.SIGTTIN)
	c.statusUntil("three at work", allRunning(3))
	p.Signal(syscall.SIGTTOU)
	c.statusUntil("two at work", allRunning(2))

	p.Signal(syscall.SIGTSTP)
	c.statusUntil("quiet", func(st status.Status) error {
		for _, w := range st.Workers {
			if w.State != status.Quiet {
				return fmt.Errorf("%s is %s", w.Name(), w.State)
			}
		}
		return nil
	})
	n := len(b.records())
	p.Signal(syscall.SIGUSR2)
	p.WaitLine("signal is reserved and was ignored")
	if now := len(b.records()); now != n {
		t.Errorf("%d messages were processed while quiet", now-n)
	}
	p.Signal(syscall.SIGCONT)
	last := c.statusUntil("two at work", allRunning(2))
	if was, is := pids(first), pids(last); was != is {
		t.Errorf("workers were replaced: %s, then %s", was, is)
	}
	s.end()
	b.awaitProcessed(b.total())

	p.Signal(syscall.SIGQUIT)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d after QUIT", code)
	}
	beginning := regexp.MustCompile(`stacks of the worker.* part=1/`) // they come on several lines
	if out := p.Stdout(); !strings.Contains(out, "stacks of the supervisor") || len(beginning.FindAllString(out, -1)) != 2 {
		t.Error("the log does not have the stacks of supervisor and workers")
	}
	b.judge(b.evidence())
}

// A second TERM kills what is left of a stop, and the exit code says so.
func TestSecondTermKills(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	socket := filepath.Join(t.TempDir(), "s.sock")
	mischief := t.TempDir()
	p := b.start([]string{"JOURNAL_MISCHIEF=" + mischief}, "--parallel-workers", "2", "--control-socket", socket, "Journal")
	newControl(t, socket).statusUntil("two at work", allRunning(2))
	spin := filepath.Join(mischief, "spin")
	writeFile(t, spin, "")
	b.produce(partitions)
	harness.Eventually(t, "a call that spins", func() error {
		if _, err := os.Stat(spin); err == nil {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	p.Signal(syscall.SIGTERM)
	p.WaitLine(`worker stopped.*reason=stop`)
	harness.Eventually(t, "the second TERM taken as one of its own", func() error {
		p.Signal(syscall.SIGTERM)
		if !strings.Contains(p.Stdout(), "stop requested again") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(p.Stderr(), "=> Crashed: not all workers stopped gracefully: Journal[") {
		t.Errorf("stderr:\n%s", p.Stderr())
	}
}

// Two consumers under one supervisor have workers of their own, by their names
// everywhere, and a command for one leaves the other alone.
func TestSeveralConsumers(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := harness.Start(t, harness.Command{
		Role: "app", Env: []string{"JOURNAL_DIR=" + b.dir, "JOURNAL_TOPICS=" + b.topic},
		Args: []string{
			"--brokers", strings.Join(b.broker.Addrs(), ","), "--group-id-prefix", b.group + "-", "--heartbeat-interval", "0.2",
			"--parallel-workers", "2", "--control-socket", socket, "Journal", "JournalBatch",
		},
	})
	c := newControl(t, socket)
	c.statusUntil("four at work", allRunning(4))
	if err := c.Scale(t.Context(), "JournalBatch", 1, discard); err != nil {
		t.Error(err)
	}
	before := c.statusUntil("three at work", allRunning(3))
	if err := c.Restart(t.Context(), "JournalBatch", discard); err != nil {
		t.Error(err)
	}
	after := c.statusUntil("three at work", allRunning(3))
	for i, w := range after.Workers {
		was := before.Workers[i]
		if want := []string{"Journal[0]", "Journal[1]", "JournalBatch[0]"}[i]; w.Name() != want || was.Name() != want {
			t.Errorf("worker %d is %s", i, w.Name())
		}
		if replaced := w.PID != was.PID; replaced != (w.Consumer == "JournalBatch") {
			t.Errorf("%s was pid %d and is %d", w.Name(), was.PID, w.PID)
		}
	}
	names := workers(p)
	for _, want := range []string{"Journal[0]", "Journal[1]", "JournalBatch[0]"} {
		if names[want] == 0 {
			t.Errorf("no process is called %s: %v", want, names)
		}
	}
	by := map[string]map[string]bool{}
	harness.Eventually(t, "all messages processed by both", func() error {
		for _, r := range b.records() {
			name, _, _ := strings.Cut(r.Worker, "[")
			if by[name] == nil {
				by[name] = map[string]bool{}
			}
			by[name][r.Key] = true
		}
		if n, m := len(by["Journal"]), len(by["JournalBatch"]); n != b.total() || m != b.total() {
			return fmt.Errorf("%d and %d", n, m)
		}
		return nil
	})
	stop(t, p)
	if n := len(b.records()); n != 2*b.total() {
		t.Errorf("%d records of %d messages for two consumers", n, b.total())
	}
}
