package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
)

// A counter of consumer code's counts 10,000 messages in three workers, of which one is
// killed, all are rolled and one is scaled away and comes back: what /metrics says of it
// never goes back, and lacks at the end at most what the killed one did in its last second.
func TestMetricsOfConsumerCode(t *testing.T) {
	t.Parallel()
	b := newBed(t, 10000)
	p := b.start([]string{"JOURNAL_DELAY=1ms"}, "--status-addr", "127.0.0.1:0", "--parallel-workers", "3", "--offset-commit-interval", "0.2", "Journal")
	url := pageOf(p)
	socket := newControl(t, statusOf(t, url, "").Socket)
	socket.statusUntil("three workers", allRunning(3))

	seen := map[string]float64{}
	counted := func() (sum float64) {
		t.Helper()
		for name, v := range scrape(t, url) {
			if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
				t.Errorf("%s is a worker's own", name)
			}
			if !strings.HasPrefix(name, "journalled_total{") {
				continue
			}
			if v < seen[name] {
				t.Errorf("%s went from %v to %v", name, seen[name], v)
			}
			seen[name] = v
			sum += v
		}
		return sum
	}
	growing := func(what string, beyond float64) (sum float64) {
		t.Helper()
		harness.Eventually(t, "the counter "+what, func() error {
			if sum = counted(); sum <= beyond {
				return fmt.Errorf("%v, it was %v", sum, beyond)
			}
			return nil
		})
		return sum
	}
	n := growing("at first", 500)
	victim := workers(p)["Journal[1]"]
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n = growing("after a kill", n)
	if err := socket.Restart(context.Background(), "", discard); err != nil {
		t.Fatal(err)
	}
	n = growing("after a roll", n)
	for _, workers := range []int{2, 3} {
		if err := socket.Scale(context.Background(), "", workers, discard); err != nil {
			t.Fatal(err)
		}
		socket.statusUntil("scaled", allRunning(workers))
		n = growing(fmt.Sprintf("with %d workers", workers), n-1)
	}
	b.awaitProcessed(10000)
	records := b.records()
	last, lost := time.Time{}, 0
	for _, r := range records {
		if r.PID == victim && r.End.After(last) {
			last = r.End
		}
	}
	for _, r := range records {
		if r.PID == victim && last.Sub(r.End) < 3*time.Second/2 {
			lost++
		}
	}
	harness.Eventually(t, "the counter at the end", func() error {
		if sum := counted(); sum < float64(len(records)-lost) || sum > float64(len(records)) {
			return fmt.Errorf("%v, %d were journalled, %d of them in the last second of the killed one", sum, len(records), lost)
		}
		return nil
	})
	if len(seen) != 3 || seen[`journalled_total{consumer="Journal",worker="Journal[2]"}`] == 0 {
		t.Errorf("%v", seen)
	}
	stop(t, p)
}
