package view

import (
	"slices"
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

// An outage is shown beside the state of a worker, and with its details among the problems.
func TestOutagesAreShown(t *testing.T) {
	now := time.Now()
	st := status.Status{
		Consumers: []status.Consumer{{Name: "A", State: status.Running, Outages: []status.Outage{
			{Dependency: "db", Since: now.Add(-2 * time.Minute), Held: 3, Probes: 7, Prober: "A[1]", Error: "connection refused"},
			{Since: now.Add(-time.Second), Held: 1, Probes: 1},
		}}},
		Workers: []status.Worker{
			{Consumer: "A", State: status.Running, Outages: []string{"db", ""}}, {Consumer: "A", Index: 1, State: status.Running},
		},
	}
	table := strings.Join(Workers(st, now, 200), "\n")
	if !strings.Contains(table, "OUTAGE") || !strings.Contains(table, "db, unnamed") || strings.Count(table, "running") != 2 {
		t.Error(table)
	}
	want := []string{
		"A has an outage of db for 2m00s, 3 held, 7 probes, A[1] probes now: connection refused",
		"A has an outage for 1s, 1 held, 1 probe",
	}
	if got := Problems(st, now); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	st.Workers[0].Outages = nil
	if table := Workers(st, now, 200); strings.Contains(table[0], "OUTAGE") {
		t.Error(table)
	}
}
