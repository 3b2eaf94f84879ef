package racecar

import (
	"testing"
	"time"
)

// In a Spec -1 of any unit means what it means in a file.
func TestPauseTimeoutOfTheSpec(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{
		NoPause: 0, PauseForever: PauseForever, -1: PauseForever, -time.Millisecond: PauseForever, -time.Hour: PauseForever,
		2 * time.Second: 2 * time.Second, -2 * time.Second: -2 * time.Second,
	} {
		r := &Registration{spec: Spec{PauseTimeout: given}}
		if got := r.SpecValues().PauseTimeout; got == nil || *got != want {
			t.Errorf("%d: %v, want %v", given, got, want)
		}
	}
	if got := (&Registration{}).SpecValues().PauseTimeout; got != nil {
		t.Errorf("0: %v, want as configured", got)
	}
}
