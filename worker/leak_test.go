package worker

import (
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// Workers that come and go, each of which makes the group rebalance twice, leave
// nothing behind: neither in one that stays nor in the process they ran in.
func TestComingAndGoingLeaksNothing(t *testing.T) {
	rounds := 10
	if os.Getenv(seeds.SoakVar) != "" {
		rounds = 1000 // restarts, and twice as many rebalances
	}
	b := testbroker.New(t)
	topic, group := b.Topic(4), b.Group()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: ignore, out: rt.Producer}, nil
	})
	silent := func(o *Options) { o.Log.SetOutput(io.Discard) }
	for strategy, concurrency := range map[string]int{"range": 1, "cooperative-sticky": 4} {
		t.Run(strategy, func(t *testing.T) {
			cfg := testConfig(b, group+strategy)
			cfg.Concurrency, cfg.PartitionAssignmentStrategy = concurrency, []string{strategy}
			stays := start(t, reg, cfg, silent)
			stays.running()
			round := func() {
				s := start(t, reg, cfg, withIndex(1), silent)
				s.running()
				b.Produce(topic, 0, "a")
				b.Produce(topic, 3, "b")
				if code := s.stop(); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				waitFor(t, "all partitions back", func() bool { return len(stays.status().Partitions) == 4 })
			}
			for range 2 { // what is made once is made
				round()
			}
			var took []time.Duration
			var before, after usage
			// A connection that is made once may be made late: only growth in each try is
			// a leak.
			for try, leaks := 0, true; leaks; try++ {
				before = used(t)
				for range rounds / 2 {
					began := time.Now()
					round()
					took = append(took, time.Since(began))
				}
				after, leaks = settled(t, before)
				if leaks && try == 2 {
					t.Fatalf("goroutines and files grow: before %+v, after %d rounds %+v", before, rounds/2, after)
				}
			}
			// However many rebalances there were, the next one is not put off.
			if d := slices.Min(took[len(took)-3:]); d > seeds.AtMost(3*time.Second) {
				t.Errorf("the last rounds took %v at least", d)
			}
			t.Logf("before %+v, after %d rounds %+v", before, rounds/2, after)
			// The embedded broker is in this process and keeps what is produced.
			if grown := after.heap - before.heap; grown > 8<<20 {
				t.Errorf("the heap grew by %d KiB", grown>>10)
			}
			stays.stop()
		})
	}
}

// settled waits until goroutines and files are as many as before; connections are closed
// in the background. leaks: they are not.
func settled(t *testing.T, before usage) (after usage, leaks bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(seeds.AtMost(5 * time.Second)); ; <-tick.C {
		after = used(t)
		leaks = after.goroutines > before.goroutines+3 || after.files > before.files+1 // a timer more or less
		if !leaks || time.Now().After(deadline) {
			return after, leaks
		}
	}
}

// usage is what a process holds.
type usage struct {
	goroutines, files int
	heap              int64
}

func used(t testing.TB) usage {
	t.Helper()
	fds, err := harness.FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC() // what the first one found finalizers for
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{goroutines: runtime.NumGoroutine(), files: len(fds), heap: int64(m.HeapAlloc)}
}
