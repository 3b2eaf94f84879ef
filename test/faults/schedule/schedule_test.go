package schedule

import (
	"fmt"
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

// The same seed gives modes of the same kind different schedules.
func TestModesDiffer(t *testing.T) {
	drawn := map[string]string{}
	for _, m := range Modes {
		if m.Faults != nil {
			continue
		}
		events := fmt.Sprint(Draw(1, m, time.Minute).Events)
		if other := drawn[events]; other != "" {
			t.Errorf("%s has the events of %s", m.Name, other)
		}
		drawn[events] = m.Name
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
