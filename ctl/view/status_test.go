package view

import (
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// The release is shown while workers of one consumer differ in it.
func TestReleaseIsShownWhileWorkersDiffer(t *testing.T) {
	for _, c := range []struct {
		workers []status.Worker
		want    bool
	}{
		{[]status.Worker{{Consumer: "A", Release: 1}, {Consumer: "A", Index: 1, Release: 1}, {Consumer: "B", Release: 2}}, false},
		{[]status.Worker{{Consumer: "A", Release: 2}, {Consumer: "A", Index: 1, Release: 1}}, true},
	} {
		table := Workers(status.Status{Workers: c.workers}, time.Now(), 200)
		if got := strings.Contains(table[0], "RELEASE"); got != c.want {
			t.Errorf("shown %v, want %v: %v", got, c.want, table)
		}
	}
}
