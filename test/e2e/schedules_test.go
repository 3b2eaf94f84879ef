package e2e

import (
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// Random orders and kills while messages are processed: each at least once, in
// order, by one at a time; again only after a kill, and only what was processed
// since the last commit before it.
func TestSchedules(t *testing.T) {
	seeds.Run(t, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := newBed(t, 6000)
		strategy := []string{"range,roundrobin", "sticky", "cooperative-sticky"}[r.IntN(3)]
		membership := []string{"run", "host", "dynamic"}[r.IntN(3)]
		if membership == "dynamic" && !b.broker.Real() {
			// A dynamic member that is killed while it joins is known to nobody by its
			// id. Kafka forgets it after the session's timeout; the embedded broker was
			// seen to hold the group up for more than a minute.
			membership = "run"
		}
		concurrency := []string{"1", "4"}[r.IntN(2)]
		t.Logf("%s, membership %s, concurrency %s", strategy, membership, concurrency)
		p := b.start([]string{"JOURNAL_DELAY=1ms", "JOURNAL_CONCURRENCY=" + concurrency},
			"--parallel-workers", "3", "--partition-assignment-strategy", strategy, "--membership", membership,
			"--static-id", b.group, "--offset-commit-interval", "0.5", "--worker-restart-limit", "-1", "Journal")
		b.awaitProcessed(100)

		var kills []time.Time
		for range 4 + r.IntN(4) {
			switch what := r.IntN(6); what {
			case 0, 1:
				if pids := slices.Sorted(pidsOf(p)); len(pids) > 0 {
					kills = append(kills, time.Now())
					_ = syscall.Kill(pids[r.IntN(len(pids))], syscall.SIGKILL) // it may have ended meanwhile
				}
			case 2:
				if pids := slices.Sorted(pidsOf(p)); len(pids) > 0 {
					_ = syscall.Kill(pids[r.IntN(len(pids))], syscall.SIGTERM)
				}
			case 3:
				p.Signal(syscall.SIGTTIN)
			case 4:
				if len(workers(p)) > 1 { // the last one stays
					p.Signal(syscall.SIGTTOU)
				}
			case 5:
				p.Signal(syscall.SIGTSTP)
				p.Signal(syscall.SIGCONT)
			}
			<-time.After(time.Duration(r.IntN(400)) * time.Millisecond) // when the next one comes is random, too
		}
		b.awaitProcessed(b.total())
		stop(t, p)

		e := b.evidence()
		e.Excused = func(first, _ judge.Record) bool {
			return slices.ContainsFunc(kills, func(at time.Time) bool {
				return first.End.After(at.Add(-2*time.Second)) && first.End.Before(at.Add(time.Second))
			})
		}
		b.judge(e)
	})
}

func pidsOf(p *harness.Process) iter.Seq[int] { return maps.Values(workers(p)) }
