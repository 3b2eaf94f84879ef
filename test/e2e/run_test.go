package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// What consumers send by the package functions is delivered before a worker ends,
// though nobody waits for it while it runs.
func TestTheDefaultProducerOfAWorkerIsClosed(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	aside := b.broker.Topic(partitions)
	// It lingers, so that nothing has left by then.
	env := []string{"JOURNAL_ASIDE=" + aside, "RACECAR_BROKERS=" + strings.Join(b.broker.Addrs(), ","), "RACECAR_PRODUCER=linger.ms=60000"}
	p := b.start(env, "--parallel-workers", "2", "Journal")
	b.awaitProcessed(b.total())
	stop(t, p)
	if n := len(slices.Concat(readCommitted(t, b.broker.Addrs(), aside, partitions)...)); n != b.total() {
		t.Errorf("%d of %d were delivered", n, b.total())
	}
}

// messages is how many a run processes: many on Apache Kafka, few on the
// embedded broker, which keeps them in memory beside everything else.
func messages(b interface{ Real() bool }) int {
	if b.Real() {
		return 200_000
	}
	return 40_000
}

// TERM in the middle and a second start: nothing lost, nothing twice, in order.
func TestAStopInTheMiddleLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, consumer := range []string{"Journal", "JournalBatch"} {
		t.Run(consumer, func(t *testing.T) {
			b := newBed(t, 0)
			b.produce(messages(b.broker))
			// Slow enough for TERM to come in the middle.
			first := b.start([]string{"JOURNAL_DELAY=50us"}, "--parallel-workers", "3", consumer)
			b.awaitProcessed(b.total() / 8)
			stop(t, first)
			half := b.evidence()
			half.Unfinished = true
			b.judge(half)
			if n := len(half.Processed); n == b.total() {
				t.Errorf("all %d were processed before TERM: nothing was tested", n)
			}

			second := b.start(nil, "--parallel-workers", "3", consumer)
			b.awaitProcessed(b.total())
			stop(t, second)
			b.judge(b.evidence())
			if got := processes(b.records()); got < 4 {
				t.Errorf("only %d processes took part", got)
			}
		})
	}
}

func processes(records []judge.Record) int {
	pids := map[int]bool{}
	for _, r := range records {
		pids[r.PID] = true
	}
	return len(pids)
}

// kill -9 of one worker: replaced within a second, its partitions go on within
// two, and the others never pause.
func TestAKilledWorkerIsReplacedWithoutARebalance(t *testing.T) {
	b := newBed(t, 4000)
	p := b.start([]string{"JOURNAL_DELAY=2ms"}, "--parallel-workers", "3", "Journal")
	harness.Eventually(t, "all three workers at work", func() error {
		by := map[string]bool{}
		for _, r := range b.records() {
			by[r.Worker] = true
		}
		if len(by) < 3 {
			return fmt.Errorf("only %v", by)
		}
		return nil
	})
	before := workers(p)
	victim := before["Journal[1]"]
	killed := time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var replaced time.Time
	harness.Eventually(t, "the worker replaced", func() error {
		if pid := workers(p)["Journal[1]"]; pid == 0 || pid == victim {
			return fmt.Errorf("pid %d", pid)
		}
		replaced = time.Now()
		return nil
	})
	b.awaitProcessed(b.total())
	after := workers(p)
	stop(t, p)

	if d := replaced.Sub(killed); d > seeds.AtMost(time.Second) {
		t.Errorf("replaced after %v", d)
	}
	for _, name := range []string{"Journal[0]", "Journal[2]"} {
		if before[name] != after[name] {
			t.Errorf("%s was pid %d and is %d", name, before[name], after[name])
		}
	}
	var resumed time.Time
	pauses := map[int]time.Duration{}
	last := map[int]time.Time{}
	records := b.records()
	slices.SortFunc(records, func(a, b judge.Record) int { return a.Start.Compare(b.Start) })
	for _, r := range records {
		if r.PID == after["Journal[1]"] && resumed.IsZero() {
			resumed = r.Start
		}
		if t0, ok := last[r.PID]; ok {
			pauses[r.PID] = max(pauses[r.PID], r.Start.Sub(t0))
		}
		last[r.PID] = r.End
	}
	t.Logf("replaced after %v, its partitions go on after %v", replaced.Sub(killed).Round(time.Millisecond), resumed.Sub(killed).Round(time.Millisecond))
	if d := resumed.Sub(killed); resumed.IsZero() || d > seeds.AtMost(2*time.Second) {
		t.Errorf("its partitions went on after %v", d)
	}
	for _, name := range []string{"Journal[0]", "Journal[2]"} {
		t.Logf("%s paused at most %v", name, pauses[before[name]].Round(time.Millisecond))
		if d := pauses[before[name]]; d > seeds.AtMost(time.Second) {
			t.Errorf("%s paused for %v", name, d)
		}
	}
	e := b.evidence()
	// At most what was processed since the last commit is repeated.
	e.AllowedRepeats = b.total()
	b.judge(e)
	// Nobody else left a session: the group did not rebalance.
	p.WaitLine(`msg="worker died"`)
	if _, after, found := strings.Cut(p.Stdout(), `msg="worker died"`); !found || strings.Contains(after, "rebalance") {
		t.Errorf("a rebalance after the kill, or no kill")
	}
}

// kill -9 of the supervisor: no process left after ten seconds, what was processed
// is committed, and the group has no members left to wait for.
func TestNoProcessOutlivesTheSupervisor(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4000)
	b.keeps = []string{"*.sock"} // racecarctl removes it when it comes across it
	p := b.start([]string{"JOURNAL_DELAY=2ms"}, "--parallel-workers", "3", "Journal")

	b.awaitProcessed(500)
	all := workers(p)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	within(t, "the workers' end", 10*time.Second, func() {
		harness.Eventually(t, "the workers gone", func() error {
			for name, pid := range all {
				if syscall.Kill(pid, 0) == nil {
					return fmt.Errorf("%s (pid %d) is there", name, pid)
				}
			}
			return nil
		})
	})
	if n := b.broker.Members(b.group); n != 0 {
		t.Errorf("the group still has %d members", n)
	}
	half := b.evidence()
	half.Unfinished = true
	b.judge(half)
	processed := map[judge.Partition]int64{}
	for _, r := range half.Processed {
		at := judge.Partition{Topic: r.Topic, Partition: r.Partition}
		processed[at] = max(processed[at], r.Offset+1)
	}
	if !maps.Equal(processed, half.Committed) {
		t.Errorf("processed up to %v, committed %v", processed, half.Committed)
	}

	second := b.start(nil, "--parallel-workers", "3", "Journal")
	b.awaitProcessed(b.total())
	stop(t, second)
	b.judge(b.evidence())
}

// A supervisor that is killed in a rolling restart, between a worker that has stopped and
// its successor, leaves no member behind for which the group would wait.
func TestSupervisorKilledDuringARestart(t *testing.T) {
	for _, ms := range []int{0, 2, 5, 10, 20, 50} {
		t.Run(fmt.Sprintf("%d ms", ms), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 0)
			b.keeps = []string{"*.sock"}
			socket := filepath.Join(t.TempDir(), "s.sock")
			p := b.start(nil, "--control-socket", socket, "--session-timeout", "45", "--parallel-workers", "2", "Journal")
			c := newControl(t, socket)
			c.statusUntil("two workers at work", allRunning(2))
			b.produce(100)
			b.awaitProcessed(100)
			go func() { _ = c.Restart(t.Context(), "", discard) }() // fails with the supervisor
			p.WaitLine(`worker stopped.*reason=restart`)
			<-time.After(time.Duration(ms) * time.Millisecond) // the moment itself
			p.Signal(syscall.SIGKILL)
			p.Wait()
			within(t, "the end of workers and members", 10*time.Second, func() {
				harness.Eventually(t, "nothing left", func() error {
					if procs := p.Processes(); len(procs) > 0 {
						return fmt.Errorf("%d processes", len(procs))
					}
					if n := b.broker.Members(b.group); n != 0 {
						return fmt.Errorf("%d members in the group", n)
					}
					return nil
				})
			})
		})
	}
}

// The supervisor is told to stop and killed before it is done, as a container whose
// grace is too short does it, while one worker is in a slow call and the others are on
// their way out or gone: no worker and no member of the group is left.
func TestSupervisorKilledDuringAStop(t *testing.T) {
	moments := []int{0, 10, 30, 100, 400, 2000}
	if os.Getenv(seeds.SoakVar) != "" {
		moments = []int{0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 400, 700, 1000, 1500, 2000}
	}
	for _, ms := range moments {
		t.Run(fmt.Sprintf("%d ms", ms), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 0)
			b.keeps = []string{"*.sock"}
			socket := filepath.Join(t.TempDir(), "s.sock")
			p := b.start([]string{"JOURNAL_TRAP=3-10=slower"}, "--control-socket", socket, "--session-timeout", "45", "--parallel-workers", "4", "Journal")
			newControl(t, socket).statusUntil("four workers at work", allRunning(4))
			b.produce(400)
			b.awaitProcessed(300) // those of the other workers
			p.WaitLine("slow: begun")
			p.Signal(syscall.SIGTERM)
			<-time.After(time.Duration(ms) * time.Millisecond) // the moment itself
			all := p.Processes()
			p.Signal(syscall.SIGKILL)
			p.Wait()
			within(t, "the end of workers and members", 10*time.Second, func() {
				harness.Eventually(t, "nothing left", func() error {
					if procs := p.Processes(); len(procs) > 0 {
						return fmt.Errorf("%d processes of %v", len(procs), all)
					}
					if n := b.broker.Members(b.group); n != 0 {
						return fmt.Errorf("%d members in the group", n)
					}
					return nil
				})
			})
			half := b.evidence()
			half.Unfinished = true
			b.judge(half)
		})
	}
}
