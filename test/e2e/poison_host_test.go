package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// killAll kills supervisor and workers together, as the kernel does with a container that
// runs out of memory (memory.oom.group).
func killAll(t *testing.T, p *harness.Process) {
	t.Helper()
	pids := workers(p)
	p.Signal(syscall.SIGSTOP) // it neither notices nor replaces them
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	p.Signal(syscall.SIGKILL)
	p.Wait()
}

// A message that takes supervisor and worker with it is found by the count of claims
// that did not end, though each start has a runtime folder of its own: after three deaths
// it is dead-lettered, or its partition paused, and what lies behind it is processed.
func TestPoisonThatKillsTheSupervisorToo(t *testing.T) {
	t.Parallel()
	for name, letters := range map[string]bool{"dead-letter topic": true, "no dead-letter topic": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 80)
			b.keeps = []string{"*.pid", "*.sock"}
			bad := poison{3, 5}
			args := []string{"--membership", "host", "--static-id", "a-host"}
			if letters {
				args = append(args, "--dead-letter-topic", b.group+".dead")
			}
			args = append(args, "Journal")
			trap := []string{"JOURNAL_TRAP=" + bad.key() + "=slower"}
			// The first death does not count if the position was committed while the claim
			// lasted, as happens when another partition was opened later.
			p, deaths := b.start(trap, args...), 0
			for deaths < 4 && strings.Contains(p.WaitLine("slow: begun|killed its process 3 times"), "begun") {
				killAll(t, p)
				deaths++
				p = b.start(trap, args...)
			}
			if deaths < 3 {
				t.Errorf("poisoned after %d deaths", deaths)
			}
			if letters {
				b.awaitProcessed(b.total() - 1)
				b.awaitDeadLetters(b.group+".dead", 1)
				stop(t, p)
				b.judgePoison(b.group+".dead", bad, "3", "worker and supervisor died together")
				return
			}
			p.WaitLine("joined the group")
			b.awaitState(p, bad.partition, status.PartitionPoisoned)
			b.awaitProcessed(b.total() - 5) // what lies behind it in its partition waits
			if out := ctlOutput(t, p, "status"); !strings.Contains(out, "killed its process 3 times") {
				t.Errorf("status says:\n%s", out)
			}
			stop(t, p)
			if c := b.broker.Committed(b.group, b.topic, bad.partition); c != bad.offset {
				t.Errorf("committed %d", c)
			}
		})
	}
}

// Kills of supervisor and worker while no particular message is in hand poison no
// message.
func TestDyingHostsPoisonNoMessage(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	b.keeps = []string{"*.pid", "*.sock"}
	letters := b.group + ".dead"
	args := []string{"--membership", "host", "--static-id", "a-host", "--dead-letter-topic", letters, "Journal"}
	p := b.start(nil, args...)
	b.awaitProcessed(b.total())
	killAll(t, p)
	for range 4 {
		p = b.start(nil, args...)
		p.WaitLine(`msg=ready`)
		killAll(t, p)
	}
	b.produce(80)
	p = b.start(nil, args...)
	b.awaitProcessed(b.total())
	stop(t, p)
	if got := b.recordsOf(letters); len(got) != 0 {
		t.Errorf("%d dead letters", len(got))
	}
}
