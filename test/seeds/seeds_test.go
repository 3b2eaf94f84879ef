package seeds

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFromEnv(t *testing.T) {
	tests := []struct {
		seed, budget string
		given        []uint64
		want         time.Duration
		err          string
	}{
		{"", "", []uint64{1}, 0, ""},
		{"7", "", []uint64{7}, 0, ""},
		{"7, 18446744073709551615", "3m", []uint64{7, 18446744073709551615}, 0, ""},
		{"", "3m", nil, 3 * time.Minute, ""},
		{"x", "", nil, 0, `TESTBED_SEED="x": "x" is no seed`},
		{"", "3", nil, 0, `TESTBED_BUDGET="3": a duration such as 90s is needed`},
		{"", "-1s", nil, 0, "a duration such as 90s is needed"},
	}
	for _, test := range tests {
		t.Run(test.seed+"/"+test.budget, func(t *testing.T) {
			env := map[string]string{SeedVar: test.seed, BudgetVar: test.budget}
			given, budget, err := fromEnv(func(name string) string { return env[name] })
			if !slices.Equal(given, test.given) || budget != test.want {
				t.Errorf("got %v, %s", given, budget)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestRunGivenSeeds(t *testing.T) {
	t.Setenv(SeedVar, "3,1,2")
	var got []uint64
	Run(t, func(_ *testing.T, seed uint64) { got = append(got, seed) })
	if want := []uint64{3, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRunUsesTheBudget(t *testing.T) {
	t.Setenv(SeedVar, "")
	t.Setenv(BudgetVar, "300ms")
	begin := time.Now()
	seen := map[uint64]bool{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	Run(t, func(_ *testing.T, seed uint64) { seen[seed] = true; <-tick.C })
	if len(seen) < 2 {
		t.Errorf("%d different seeds", len(seen))
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("it took %s of 300 ms", took)
	}
}
