package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Subscribers receive each start and exit of a process, with the reason.
func TestEventsOfWorkers(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.crash("A[0]")
	w.pass(time.Second)
	w.mustScale("A", 1)
	for range 60 { // it dies as often as it is started, and too often within a minute
		if w.f.consumers[0].slots[0].active != nil {
			w.crash("A[0]")
		}
		w.pass(time.Second)
	}
	var got []string
	for _, e := range w.events {
		got = append(got, fmt.Sprintf("%s %s[%d] %s %t", e.Kind, e.Consumer, e.Index, e.Reason, e.Graceful))
	}
	want := []string{
		"started A[0]  false", "started A[1]  false", "exited A[0] crash false", "started A[0]  false", "exited A[1] scale true",
	}
	if !slices.Equal(got[:len(want)], want) {
		t.Errorf("got %q, want at first %q", got, want)
	}
	if last := w.events[len(w.events)-1]; last.Kind != WorkerStoppedPermanently || last.Index != -1 || last.Detail == "" {
		t.Errorf("last %+v", last)
	}
}
