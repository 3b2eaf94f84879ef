package worker

import (
	"testing"
	"time"
)

// At full speed the heap may grow to the floor; with little to do it stays small.
func TestGCPercentKeepsAFloor(t *testing.T) {
	began := time.Now()
	set := 0
	for _, c := range []struct {
		liveBytes, rate uint64 // bytes; bytes a second
		want            int
	}{
		{0, 1 << 30, gcMost}, {1 << 20, 1 << 30, gcMost}, {16 << 20, 1 << 30, 200}, {24 << 20, 1 << 30, 100}, {32 << 20, 1 << 30, 60}, {64 << 20, 1 << 30, 100},
		{8 << 20, 320 << 20, 400}, // 40 MiB: what lives, and what is made meanwhile
		{1 << 20, 5 << 20, 400},   // Go's least heap, four times
		{4 << 20, 5 << 20, 300}, {8 << 20, 0, 100}, {1 << 40, 0, 100},
	} {
		tuner := &gcTuner{most: floorFor(1), now: 1, set: func(p int) int { set = p; return 0 }, seen: heap{readAt: began, allocated: 1 << 20}}
		if tuner.adjust(heap{readAt: began.Add(2 * time.Second), liveBytes: c.liveBytes, allocated: 1<<20 + 2*c.rate}); set != c.want {
			t.Errorf("%d bytes live, %d made a second: GOGC %d, want %d", c.liveBytes, c.rate, set, c.want)
		}
	}
	calls := 0
	tuner := &gcTuner{most: floorFor(1), now: 200, set: func(int) int { calls++; return 0 }, seen: heap{readAt: began}}
	tuner.adjust(heap{readAt: began.Add(time.Second), liveBytes: 16<<20 - 1<<18, allocated: 1 << 30})
	if calls != 0 {
		t.Error("a small change was made")
	}
}

func TestManyWorkersShareTheFloor(t *testing.T) {
	for workers, want := range map[int]uint64{0: 48 << 20, 1: 48 << 20, 2: 24 << 20, 3: 16 << 20, 5: 16 << 20} {
		if got := floorFor(workers); got != want {
			t.Errorf("%d workers: %d MiB each, want %d", workers, got>>20, want>>20)
		}
	}
}
