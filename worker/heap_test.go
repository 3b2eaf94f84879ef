package worker

import "testing"

func TestGCPercentKeepsAFloor(t *testing.T) {
	set := 0
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, gcMost}, {1 << 20, gcMost}, {16 << 20, 200}, {24 << 20, 100}, {32 << 20, 100}, {64 << 20, 100}, {1 << 40, 100},
	} {
		tuner := &gcTuner{floor: floorFor(1), now: 1, set: func(p int) int { set = p; return 0 }}
		if tuner.adjust(c.live); set != c.want {
			t.Errorf("%d bytes live: GOGC %d, want %d", c.live, set, c.want)
		}
	}
	calls := 0
	tuner := &gcTuner{floor: floorFor(1), now: 200, set: func(int) int { calls++; return 0 }}
	tuner.adjust(16<<20 - 1<<18)
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
