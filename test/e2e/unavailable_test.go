package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/seeds"
)

// needed is a file that the messages of a consumer need.
type needed struct {
	t    *testing.T
	path string
}

// neededCall is a call that found the file missing.
type neededCall struct {
	worker, pid, partition int
	offset                 int64
}

func newNeeded(t *testing.T) needed {
	n := needed{t, filepath.Join(t.TempDir(), "file")}
	n.create()
	return n
}

// remove begins an outage, create ends it.
func (n needed) remove() {
	n.t.Helper()
	if err := os.Remove(n.path); err != nil {
		n.t.Fatal(err)
	}
}

func (n needed) create() {
	n.t.Helper()
	if err := os.WriteFile(n.path, nil, 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// calls returns the calls so far, and how many of them began while another one ran. Of the
// first so many it is not counted.
func (n needed) calls(uncounted int) (all []neededCall, beside int) {
	n.t.Helper()
	text, err := os.ReadFile(n.path + ".calls")
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	running := map[int]bool{} // by process
	for line := range strings.Lines(string(text)) {
		var word string
		var c neededCall
		if _, err := fmt.Sscan(line, &word, &c.worker, &c.pid, &c.partition, &c.offset); err != nil {
			n.t.Fatalf("%q: %v", line, err)
		}
		if delete(running, c.pid); word == "end" {
			continue
		}
		if all = append(all, c); len(all) > uncounted && len(running) > 0 {
			beside++
		}
		running[c.pid] = true
	}
	return all, beside
}

// await waits until there were so many calls.
func (n needed) await(calls int) {
	n.t.Helper()
	harness.Eventually(n.t, fmt.Sprintf("%d calls during the outage", calls), func() error {
		if all, _ := n.calls(0); len(all) < calls {
			return fmt.Errorf("%d calls", len(all))
		}
		return nil
	})
}

// begin starts three workers, waits until each has its partitions, and begins an outage with
// messages to process.
func (n needed) begin(b *bed, consumer string, messages int, env ...string) *harness.Process {
	n.t.Helper()
	p := b.start(append(env, "JOURNAL_NEEDS="+n.path), outageArgs(b, consumer)...)
	p.WaitLine("joined the group") // there is a control socket by then
	harness.Eventually(n.t, "three workers with their partitions", func() error {
		st := statusJSON(n.t, p)
		for _, w := range st.Workers {
			if w.Report == nil || len(w.Report.Partitions) < partitions/3 || len(w.Report.Partitions) > partitions/3+1 {
				return fmt.Errorf("%s has not", w.Name())
			}
		}
		return nil
	})
	n.remove()
	b.produce(messages)
	return p
}

// outageArgs are those of three workers that dead-letter soon.
func outageArgs(b *bed, consumer string) []string {
	return []string{
		"--parallel-workers", "3", "--max-retries", "3", "--pause-timeout", "0", "--dead-letter-topic", b.group + ".dead", "--outage-max-pause", "1", consumer,
	}
}

// deadLetters counts those of all workers.
func deadLetters(t *testing.T, p *harness.Process) (n uint64) {
	t.Helper()
	for _, w := range statusJSON(t, p).Workers {
		if w.Report != nil {
			n += w.Report.Counters[status.CountDeadLetters]
		}
	}
	return n
}

// An outage of a dependency that all workers need: each partition finds out by one call, then
// one message of all of them is tried at a time. No message is dead-lettered, each is
// processed once, and the workers go on soon after the end.
func TestDependencyUnavailable(t *testing.T) {
	t.Parallel()
	for _, consumer := range []string{"Journal", "JournalBatch", "JournalTx"} {
		t.Run(consumer, func(t *testing.T) {
			t.Parallel()
			b, file := newBed(t, 0), newNeeded(t)
			p := file.begin(b, consumer, 400)
			over := time.After(seeds.Length(5*time.Second, time.Minute))
			file.await(partitions + 5)
			<-over
			if n := len(b.records()); n > 0 {
				t.Errorf("%d messages were processed during the outage", n)
			}
			if n := deadLetters(t, p); n > 0 {
				t.Errorf("%d dead letters", n)
			}
			file.create()
			end := time.Now()
			b.awaitProcessed(b.total())
			first := b.records()[0].Start
			for _, r := range b.records() {
				if r.Start.Before(first) {
					first = r.Start
				}
			}
			t.Logf("%s: went on %v after the end, all processed after %v", consumer, first.Sub(end).Round(time.Millisecond), time.Since(end).Round(time.Millisecond))
			b.produce(80)
			b.awaitProcessed(b.total())
			stop(t, p)
			b.judge(b.evidence())
			if n := len(b.records()); n != b.total() {
				t.Errorf("%d messages were processed %d times", b.total(), n)
			}
			calls, beside := file.calls(partitions)
			seen := map[int]bool{}
			for _, c := range calls[partitions:] {
				seen[c.partition] = true
			}
			if beside > 0 || len(seen) < 3 {
				t.Errorf("%d probes ran beside another one, of %d partitions: %v", beside, len(seen), calls)
			}
		})
	}
}

// A worker that dies in the call of a probe gives its lease to another one. Its message is a
// suspect as always, and the outage goes on and ends.
func TestWorkerDiesInAProbe(t *testing.T) {
	t.Parallel()
	b, file := newBed(t, 0), newNeeded(t)
	mischief := t.TempDir()
	if err := os.Mkdir(filepath.Join(mischief, "done"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := file.begin(b, "Journal", 80, "JOURNAL_MISCHIEF="+mischief)
	file.await(partitions + 2)
	if err := os.WriteFile(filepath.Join(mischief, "exit"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.WaitLine(`msg="worker died"`)
	before, _ := file.calls(0)
	file.await(len(before) + 5)
	file.create()
	b.awaitProcessed(b.total())
	if n := deadLetters(t, p); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	stop(t, p)
	b.judge(b.evidence())
	if n := len(b.records()); n != b.total() {
		t.Errorf("%d messages were processed %d times", b.total(), n)
	}
}

// A rolling restart and a stop take the usual time during an outage.
func TestRollAndStopDuringAnOutage(t *testing.T) {
	t.Parallel()
	b, file := newBed(t, 0), newNeeded(t)
	p := file.begin(b, "Journal", 80)
	file.await(partitions)
	was := workers(p)
	ctlOutput(t, p, "restart")
	for name, pid := range workers(p) {
		if was[name] == pid {
			t.Errorf("%s was not replaced", name)
		}
	}
	before, _ := file.calls(0)
	file.await(len(before) + 3)
	within(t, "the stop", 15*time.Second, func() { stop(t, p) })
	file.create()
	p = b.start([]string{"JOURNAL_NEEDS=" + file.path}, outageArgs(b, "Journal")...)
	b.awaitProcessed(b.total())
	stop(t, p)
	b.judge(b.evidence())
	if n := len(b.records()); n != b.total() {
		t.Errorf("%d messages were processed %d times", b.total(), n)
	}
}
