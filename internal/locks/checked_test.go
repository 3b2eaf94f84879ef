//go:build lockorder

package locks

import (
	"slices"
	"sync"
	"testing"
)

func TestOrderIsChecked(t *testing.T) {
	var got []string
	defer func(f func(string)) { violated = f }(violated)
	violated = func(text string) { got = append(got, text) }

	var acks Mutex[Acks]
	var scheduler Mutex[Scheduler]
	acks.Lock()
	scheduler.Lock() // in order
	scheduler.Unlock()
	acks.Unlock()
	None()
	if len(got) > 0 {
		t.Errorf("in order: %q", got)
	}

	scheduler.Lock()
	acks.Lock()
	None()
	acks.Unlock()
	scheduler.Unlock()
	var other Mutex[Acks]
	acks.Lock()
	other.Lock() // another of the same rank
	acks.Unlock()
	other.Unlock()
	want := []string{
		"acks.mu is taken while scheduler.mu is held", "consumer code is taken while scheduler.mu is held", "consumer code is taken while acks.mu is held",
		"acks.mu is taken while acks.mu is held",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(held.by) > 0 {
		t.Errorf("still held: %v", held.by)
	}

	// What one goroutine holds does not concern another, and a condition lets go.
	got = nil
	cond := sync.NewCond(&scheduler)
	ready := false
	var all sync.WaitGroup
	all.Go(func() {
		scheduler.Lock()
		for !ready {
			cond.Wait()
		}
		scheduler.Unlock()
	})
	acks.Lock()
	scheduler.Lock()
	ready = true
	scheduler.Unlock()
	acks.Unlock()
	cond.Broadcast()
	all.Wait()
	if len(got) > 0 {
		t.Errorf("two goroutines: %q", got)
	}
}
