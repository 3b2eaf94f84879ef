package worker

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapFloor is the size up to which the heap may grow before garbage is
// collected, however little of it lives. Consuming at full speed makes garbage of
// all it fetches while a few MB live: with Go's default a worker collects a
// hundred times a second, for a fifth of its time. Measured with 200-byte messages:
// 0.68 to 0.71 s of processor time a million with 32 MiB, 0.59 s with 64.
const heapFloor = 48 << 20

// heapLeast is what the floor is at least where several workers share it: together
// they make no more garbage than one that has the machine to itself.
const heapLeast = 16 << 20

// floorFor is the floor of each of so many workers.
func floorFor(workers int) uint64 {
	return uint64(max(heapLeast, heapFloor/max(1, workers)))
}

// Bounds of GOGC: the default, and one below which a wrong reading does no harm.
const (
	gcDefault = 100
	gcMost    = 800
)

// tuneGC keeps GOGC such that the heap is collected at floor or at twice what
// lives, whichever is more. It follows the live heap from one collection to the
// next and leaves users' own GOGC alone; GOMEMLIMIT goes on to hold. It concerns
// the whole process, so it is for one that is a worker's own.
func tuneGC(floor uint64) {
	if os.Getenv("GOGC") == "" {
		(&gcTuner{set: debug.SetGCPercent, now: gcDefault, floor: floor}).arm()
	}
}

// gcTuner is told of collections by an object that each of them finds dead.
type gcTuner struct {
	set   func(percent int) (old int)
	now   int
	floor uint64
}

// sentinel is that object; not of size 0, since those are never collected.
type sentinel struct{ _ [16]byte }

func (t *gcTuner) arm() {
	runtime.AddCleanup(&sentinel{}, func(t *gcTuner) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if live[0].Value.Kind() == metrics.KindUint64 {
			t.adjust(live[0].Value.Uint64())
		}
		t.arm()
	}, t)
}

// adjust sets the percentage for a heap of which so many bytes live. Small
// changes are not worth stopping the world for.
func (t *gcTuner) adjust(live uint64) {
	percent := gcMost
	if live > 0 {
		percent = int(min(gcMost, max(gcDefault, t.floor*100/live-min(100, t.floor*100/live))))
	}
	if d := percent - t.now; d > t.now/10 || -d > t.now/10 {
		t.set(percent)
		t.now = percent
	}
}
