package schedule

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestASeedGivesTheSameScheduleAgain(t *testing.T) {
	for _, m := range Modes {
		for seed := range uint64(50) {
			a, b := Draw(seed, m, time.Minute), Draw(seed, m, time.Minute)
			if d := cmp.Diff(a, b); d != "" {
				t.Fatal(d)
			}
			for _, e := range a.Events {
				if m.Settled && e.Fault.OfBrokers() {
					t.Errorf("seed %d: %v moves the group", seed, e)
				}
				if e.At > time.Minute-settle {
					t.Errorf("seed %d: %v is too late", seed, e)
				}
				if strings.HasPrefix(m.Name, "clean") && !e.Fault.Clean() {
					t.Errorf("seed %d: %v in clean mode", seed, e)
				}
			}
		}
	}
}

// Every fault comes up in a hundred schedules.
func TestAllFaultsAreDrawn(t *testing.T) {
	seen := map[Fault]bool{}
	for seed := range uint64(100) {
		for _, e := range Draw(seed, Modes[0], time.Minute).Events {
			seen[e.Fault] = true
		}
	}
	for _, f := range Faults {
		if !seen[f] {
			t.Errorf("%s was never drawn", f)
		}
	}
}

func TestShrinkKeepsWhatMakesItFail(t *testing.T) {
	s := Draw(7, Modes[0], time.Hour)
	s.Events[3].Fault, s.Events[40].Fault = Panic, Spin
	guilty := func(s Schedule) bool {
		has := func(f Fault) bool {
			return slices.ContainsFunc(s.Events, func(e Event) bool { return e.Fault == f })
		}
		return has(Panic) && has(Spin)
	}
	got := Shrink(s, guilty)
	if len(got.Events) != 2 || !guilty(got) {
		t.Errorf("left with %v", got.Events)
	}
}
