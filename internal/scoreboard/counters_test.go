package scoreboard

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/internal/status"
)

// What a worker has counted outlives it: the supervisor reads its own mapping.
func TestCountersOutliveTheWriter(t *testing.T) {
	f, reader, err := Create(2)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := status.Work{Counters: map[string]uint64{}, CPU: 1.5}
	for i, name := range names {
		if _, twice := want.Counters[name]; twice || name == "" {
			t.Errorf("counter %d is named %q", i, name)
		}
		want.Counters[name] = uint64(i + 1)
		writer.Counters().Add(Counter(i), uint64(i+1))
	}
	var times [len(Bounds) + 1]uint64
	for i := range times {
		times[i] = uint64(i)
	}
	writer.Counters().AddTimes(&times, 2*time.Second)
	writer.Counters().SetCPU(1500 * time.Millisecond)
	want.Times = status.Histogram{Bounds: Bounds[:], Counts: times[:], Sum: 2}
	writer.Begin(0, "topic", 1, 2, 3, true) // the slots lie behind the counters
	writer.Begin(1, "topic", 1, 2, 3, true)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, reader.Counters().Work()); d != "" {
		t.Error(d)
	}
}
