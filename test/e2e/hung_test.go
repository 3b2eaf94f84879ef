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
	"github.com/racecar-go/racecar/test/seeds"
)

// product is a supervisor at work on a bed of its own.
type product struct {
	*bed
	p        *harness.Process
	c        control
	s        *stream
	mischief string
	before   status.Status
	repeats  int // allowed: what was processed since the last commit of a worker that was killed
}

// newProduct starts one, with two workers and a stream of that many messages a
// second.
func newProduct(t *testing.T, env []string, rate int, args ...string) *product {
	t.Helper()
	x := &product{bed: newBed(t, 0), mischief: t.TempDir()}
	socket := filepath.Join(t.TempDir(), "s.sock")
	x.p = x.start(append(env, "JOURNAL_MISCHIEF="+x.mischief), append(args,
		"--control-socket", socket, "--parallel-workers", "2", "--offset-commit-interval", "0.5", "Journal")...)
	x.c = newControl(t, socket)
	x.before = x.c.statusUntil("two workers at work", allRunning(2))
	x.s = x.stream(rate)
	return x
}

// replaced waits until worker i is another process and runs, and returns how long
// that took since a time.
func (x *product) replaced(i int, since time.Time) time.Duration {
	x.t.Helper()
	was := x.before.Workers[i].PID
	x.c.statusUntil(fmt.Sprintf("worker %d replaced", i), func(st status.Status) error {
		if w := st.Workers[i]; w.PID == was || w.State != status.Running {
			return fmt.Errorf("%s (pid %d) is %s", w.Name(), w.PID, w.State)
		}
		return nil
	})
	return time.Since(since)
}

// over ends it and judges; untouched are the workers that must not have been
// replaced.
func (x *product) over(untouched ...int) {
	x.t.Helper()
	x.s.end()
	x.awaitProcessed(x.total())
	after := x.c.statusUntil("two workers at work", allRunning(2))
	for _, i := range untouched {
		if was, is := x.before.Workers[i], after.Workers[i]; was.PID != is.PID {
			x.t.Errorf("%s was pid %d and is %d: %s", was.Name(), was.PID, is.PID, is.LastExit)
		}
	}
	if was, is := generations(x.before), generations(after); was != is {
		x.t.Errorf("the group rebalanced: generations %s, then %s", was, is)
	}
	stop(x.t, x.p)
	e := x.evidence()
	e.AllowedRepeats = x.repeats
	x.judge(e)
}

// Processes that hang, each under a supervisor of its own and all at the same
// time: a stopped worker is replaced within 20 s, one with an endless loop within
// max_poll_interval + 6 s with its stacks in the log, and a supervisor that was
// stopped itself (five seconds; a minute in a soak) touches no worker. Limits are
// shorter than the defaults unless it is a soak.
func TestHungProcesses(t *testing.T) {
	timeout, maxPoll, nap := 3*time.Second, 2*time.Second, 5*time.Second
	if os.Getenv(seeds.SoakVar) != "" {
		timeout, maxPoll, nap = 15*time.Second, 10*time.Second, time.Minute
	}
	const rate = 100
	t.Parallel()
	limit := []string{"--worker-timeout", timeout.String(), "--session-timeout", "45"}
	frozen, asleep := newProduct(t, nil, rate, limit...), newProduct(t, nil, rate, limit...)
	spinning := newProduct(t, nil, rate, append(limit, "--max-poll-interval", maxPoll.String())...)
	frozen.repeats, spinning.repeats = 10*rate, 10*rate

	asleep.p.Signal(syscall.SIGSTOP)
	woken := time.After(nap)
	began := time.Now()
	if err := syscall.Kill(frozen.before.Workers[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(spinning.mischief, "spin"), "")
	spins := time.Now()
	victim := -1
	harness.Eventually(t, "a worker in an endless loop", func() error {
		if _, err := os.Stat(filepath.Join(spinning.mischief, "spin")); err == nil {
			return fmt.Errorf("not yet")
		}
		return nil
	})

	took := frozen.replaced(0, began)
	t.Logf("a stopped worker is replaced after %v (worker_timeout %v)", took.Round(10*time.Millisecond), timeout)
	if took > timeout+seeds.AtMost(5*time.Second) {
		t.Errorf("it took longer than 5 s beyond worker_timeout")
	}
	st := spinning.c.statusUntil("the worker in an endless loop replaced", func(st status.Status) error {
		for i, w := range st.Workers {
			if w.PID != spinning.before.Workers[i].PID && w.PID != 0 {
				victim = i
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	took = time.Since(spins)
	t.Logf("a worker in an endless loop is replaced after %v (max_poll_interval %v)", took.Round(10*time.Millisecond), maxPoll)
	if took > maxPoll+seeds.AtMost(6*time.Second) {
		t.Errorf("it took longer than max_poll_interval + 6 s")
	}
	if reason := st.Workers[victim].LastExit; !strings.HasPrefix(reason, "handler stuck: "+spinning.topic) {
		t.Errorf("its last exit reason is %q", reason)
	}
	// What a process leaves behind is passed on beside the supervisor's work, and may
	// come after the status that knows of its end.
	spinning.p.WaitLine(`stacks of the worker.*misbehave`)
	spinning.p.WaitLine(`^SIGQUIT: quit`)
	spinning.replaced(victim, spins)

	<-woken
	asleep.p.Signal(syscall.SIGCONT)
	asleep.p.WaitLine("the supervisor did not run for a while")
	<-time.After(timeout) // for a wrong judgement to show
	asleep.over(0, 1)
	frozen.over(1)
	spinning.over(1 - victim)
	delays := asleep.s.delays(asleep.records())
	if len(delays) == 0 {
		t.Log("the machine had no time: how long messages waited is not known")
		return
	}
	longest := delays[len(delays)-1]
	t.Logf("while its supervisor was stopped, no message waited longer than %v", longest.Round(time.Millisecond))
	if longest > seeds.AtMost(2*time.Second) {
		t.Errorf("that is too long")
	}
}
