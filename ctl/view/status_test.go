package view

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// With an order by key a partition that runs may have keys that wait, or a full window.
func TestWaitingKeys(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	until := now.Add(8 * time.Second)
	key := status.WaitingKey{Key: "order-17", Offset: 1700, Attempts: 4, Since: now.Add(-12 * time.Minute), Until: &until}
	poisoned := status.WaitingKey{Key: "0x0001", Offset: 1800, Attempts: 1, Since: now.Add(-42 * time.Second)}
	partition := func(p status.Partition) status.Status {
		p.Topic, p.State, p.Position = "orders", status.PartitionRunning, 1700
		return status.Status{Workers: []status.Worker{{Consumer: "A", State: status.Running, Report: &status.Report{
			Ordering: "key", InHand: 12, Concurrency: 50, Partitions: []status.Partition{p},
		}}}}
	}
	for _, c := range []struct {
		p              status.Partition
		problems, keys []string
	}{
		{status.Partition{Beyond: 70}, nil, nil},
		{
			status.Partition{WaitingKeys: 12, OldestWaiting: []status.WaitingKey{key, poisoned}, LastError: "no database"},
			[]string{"orders/0 of A[0] has 12 waiting keys, the oldest: offset 1700, key order-17, 4 failures, for 12m00s: no database"},
			[]string{
				"WAITING KEY  PARTITION  OFFSET  FAILURES     FOR  RETRIED",
				"order-17     orders/0     1700         4  12m00s  in 8s",
				"0x0001       orders/0     1800         1     42s  now, or when resumed",
				"and 10 more  orders/0",
			},
		},
		{
			status.Partition{WaitingKeys: 1, OldestWaiting: []status.WaitingKey{key}, WindowFull: &key},
			[]string{"orders/0 of A[0] begins no more messages, window full: offset 1700, key order-17, 4 failures, for 12m00s"},
			[]string{"WAITING KEY  PARTITION  OFFSET  FAILURES     FOR  RETRIED", "order-17     orders/0     1700         4  12m00s  in 8s"},
		},
	} {
		st := partition(c.p)
		if got := Problems(st, now); !slices.Equal(got, c.problems) {
			t.Errorf("problems %q, want %q", got, c.problems)
		}
		if got := WaitingKeys(st, now, 200); !slices.Equal(got, c.keys) {
			t.Errorf("keys\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.keys, "\n"))
		}
		if got := Partitions(st, 200)[0]; !strings.Contains(got, "FINISHED BEYOND  WAITING KEYS") {
			t.Errorf("partitions: %s", got)
		}
		if got := strings.Join(Workers(st, now, 200), "\n"); !strings.Contains(got, "CALLS") || !strings.Contains(got, "12/50") {
			t.Errorf("workers: %s", got)
		}
	}
	st := partition(status.Partition{})
	st.Workers[0].Report.Ordering, st.Workers[0].Report.Concurrency = "", 1
	if got := Partitions(st, 200)[0] + Workers(st, now, 200)[0]; strings.Contains(got, "KEYS") || strings.Contains(got, "CALLS") {
		t.Errorf("one partition after the other: %s", got)
	}
}

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
