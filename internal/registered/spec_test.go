package registered

import (
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
)

// In a Spec -1 of any unit means what it means in a file.
func TestPauseTimeoutOfTheSpec(t *testing.T) {
	pause := func(given time.Duration) *time.Duration {
		t.Helper()
		r, err := racecar.NewRegistration(func(racecar.Runtime) (racecar.ProcessFunc, error) { return nil, nil },
			racecar.Spec{Name: "C", Subscriptions: []racecar.Subscription{{Topic: "t"}}, PauseTimeout: given})
		if err != nil {
			t.Fatal(err)
		}
		return SpecValues(r).PauseTimeout
	}
	const forever = racecar.PauseForever
	for given, want := range map[time.Duration]time.Duration{
		racecar.NoPause: 0, forever: forever, -1: forever, -time.Millisecond: forever, -time.Hour: forever,
		2 * time.Second: 2 * time.Second, -2 * time.Second: -2 * time.Second,
	} {
		if got := pause(given); got == nil || *got != want {
			t.Errorf("%d: %v, want %v", given, got, want)
		}
	}
	if got := pause(0); got != nil {
		t.Errorf("0: %v, want as configured", got)
	}
}

func TestOrderingOfTheSpec(t *testing.T) {
	for given, want := range map[racecar.Ordering]config.Ordering{
		0: "", racecar.ByPartition: config.OrderingPartition, racecar.ByKey: config.OrderingKey, racecar.Unordered: config.OrderingNone,
		7: "racecar.Ordering(7)",
	} {
		r, err := racecar.NewRegistration(func(racecar.Runtime) (racecar.ProcessFunc, error) { return nil, nil },
			racecar.Spec{Name: "C", Subscriptions: []racecar.Subscription{{Topic: "t"}}, Ordering: given})
		if err != nil {
			t.Fatal(err)
		}
		if got := SpecValues(r).Ordering; got != want {
			t.Errorf("%d: %q, want %q", given, got, want)
		}
	}
}
