// Package seeds runs randomized tests so that each run can be had again.
//
//	func TestSchedules(t *testing.T) {
//		seeds.Run(t, func(t *testing.T, seed uint64) {
//			r := rand.New(rand.NewPCG(seed, 0))
//			…
//		})
//	}
//
// Plain `go test` runs seed 1 alone: it is for finding out whether something broke,
// and should say the same twice. TESTBED_BUDGET=3m runs as many seeds as fit
// into three minutes, others each time, and prints them. TESTBED_SEED=7 runs
// seed 7.
package seeds

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Variables that say which seeds to run.
const (
	BudgetVar = "TESTBED_BUDGET" // a duration, as time.ParseDuration takes it
	SeedVar   = "TESTBED_SEED"   // one seed, or several with commas
)

// Run runs test as a subtest for each seed. It stops at the first that fails, when
// the budget is used up, or when the slowest so far would not fit into the rest;
// one seed is always run.
func Run(t *testing.T, test func(t *testing.T, seed uint64)) {
	t.Helper()
	run := func(seed uint64) bool {
		return t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { test(t, seed) })
	}
	given, budget, err := fromEnv(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if budget == 0 {
		for _, seed := range given {
			if !run(seed) {
				t.Logf("run it again with %s=%d", SeedVar, seed)
				return
			}
		}
		return
	}

	var slowest time.Duration
	var ran []string
	began := time.Now()
	for {
		seed := uint64(rand.Uint32())
		begin := time.Now()
		ok := run(seed)
		ran = append(ran, strconv.FormatUint(seed, 10))
		slowest = max(slowest, time.Since(begin))
		if !ok {
			t.Logf("run it again with %s=%d", SeedVar, seed)
		}
		if used := time.Since(began); !ok || used+slowest > budget {
			t.Logf("seeds run: %d in %s of %s: %s", len(ran), used.Round(time.Second), budget, strings.Join(ran, ","))
			return
		}
	}
}

// fromEnv returns the seeds to run, or else the time to run random ones for.
func fromEnv(getenv func(string) string) (given []uint64, budget time.Duration, err error) {
	if list := getenv(SeedVar); list != "" {
		for field := range strings.SplitSeq(list, ",") {
			seed, err := strconv.ParseUint(strings.TrimSpace(field), 10, 64)
			if err != nil {
				return nil, 0, fmt.Errorf("%s=%q: %q is no seed", SeedVar, list, field)
			}
			given = append(given, seed)
		}
		return given, 0, nil
	}
	if text := getenv(BudgetVar); text != "" {
		budget, err := time.ParseDuration(text)
		if err != nil || budget <= 0 {
			return nil, 0, fmt.Errorf("%s=%q: a duration such as 90s is needed", BudgetVar, text)
		}
		return nil, budget, nil
	}
	return []uint64{1}, 0, nil
}

// SoakVar is set by `make soak`.
const SoakVar = "TESTBED_SOAK"

// Soak skips a test that takes hours unless somebody has asked for those.
func Soak(t testing.TB) {
	t.Helper()
	if os.Getenv(SoakVar) == "" {
		t.Skipf("takes long: `make soak` runs it, or set %s=1", SoakVar)
	}
}

// Length is how long a test goes on with something: long in a soak, else short.
func Length(short, long time.Duration) time.Duration {
	if os.Getenv(SoakVar) == "" {
		return short
	}
	return long
}

// MeasureVar is set by `make measure` and by .ci/run in a stage of its own.
const MeasureVar = "TESTBED_MEASURE"

// Measure skips a test of sizes, times or rates unless somebody has asked for
// those: they mean nothing beside other tests or under the race detector.
func Measure(t testing.TB) {
	t.Helper()
	if raceDetector {
		t.Skip("measures, and the race detector would be measured too")
	}
	if os.Getenv(MeasureVar) == "" {
		t.Skipf("measures: `make measure` runs it, or set %s=1", MeasureVar)
	}
}

// AtMost is d, or a multiple of it under the race detector: a bound on time that
// belongs to a promise is kept by plain binaries, beside which no other package is
// tested in the stage for Apache Kafka. Under the detector it only finds what hangs.
func AtMost(d time.Duration) time.Duration {
	if raceDetector {
		return 5 * d
	}
	return d
}

// AtMostBytes is n, or a multiple of it under the race detector, which notes each access
// to memory in more of it.
func AtMostBytes(n int64) int64 {
	if raceDetector {
		return 3 * n
	}
	return n
}

// Parallel lets n tests of a package that wait more than they work run at once, where
// the command line does not say how many. TestMain calls it.
func Parallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(n)) // it is there, and takes a number
	}
}
