package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/test/faults/runner"
	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/judge"
)

// Recorded runs are read back and summed up by mode, with every failure.
func TestResultsAreSummedUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	draw := func(mode string) schedule.Schedule {
		m, err := schedule.Find(mode)
		if err != nil {
			t.Fatal(err)
		}
		return schedule.Schedule{Seed: 7, Mode: m, Events: make([]schedule.Event, 3)}
	}
	for _, r := range []runner.Result{
		{Schedule: draw("clean"), Verdict: judge.Verdict{Messages: 10}, Left: judge.Leftovers{Recovery: 1500 * time.Millisecond}},
		{Schedule: draw("eager"), Verdict: judge.Verdict{Messages: 100, Repeats: 4, Excused: 4}},
		{Schedule: draw("eager"), Verdict: judge.Verdict{
			Messages: 1000, Repeats: 5, Lost: []string{"a"}, Duplicated: []string{"b", "c"}, OutOfOrder: []string{"d"}, AtOnce: []string{"e"}, Ahead: []string{"f"}, Altered: []string{"h"},
		}, Problems: []string{"g"}},
		{Schedule: draw("by-key"), Verdict: judge.Verdict{Messages: 20, Again: []string{"i"}}},
	} {
		if err := record(path, r, "abc"); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := summarize(&out, path); err != nil {
		t.Fatal(err)
	}
	want := `| mode | runs | failed | faults | messages | lost | out of order | by two | ahead | altered | again | repeats | unexcused | other | slowest recovery |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
| eager | 2 | 1 | 6 | 1100 | 1 | 1 | 1 | 1 | 1 | 0 | 9 | 2 | 1 | 0s |
| clean | 1 | 0 | 3 | 10 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 1.5s |
| by-key | 1 | 1 | 3 | 20 | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 0s |
| all | 4 | 2 | 12 | 1130 | 1 | 1 | 1 | 1 | 1 | 1 | 9 | 2 | 1 | 1.5s |
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}

	if err := os.WriteFile(path, []byte("{\"mode\":\"none\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := summarize(&out, path); err == nil || !strings.Contains(err.Error(), "results.jsonl: line 1: no mode") {
		t.Errorf("a mode nobody knows: %v", err)
	}
	if err := summarize(&out, path+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}
