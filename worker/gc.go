package worker

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is the size up to which the heap may grow before garbage is
// collected, however little of it lives, while consuming at full speed. That makes
// garbage of all it fetches while a few MB live: with Go's default a worker collects
// a hundred times a second, for a fifth of its time. Measured with 200-byte messages:
// 0.68 to 0.71 s of processor time a million with 32 MiB, 0.59 s with 64.
const heapFloor = 48 << 20

// heapLeast is what the floor is at least: where less garbage is made than would
// fill it in gcInterval, and where several workers share the machine, since together
// they make no more garbage than one that has it to itself.
const heapLeast = 16 << 20

// gcInterval is how often at most garbage is collected while the floor may grow to
// avoid it. A collection takes about a millisecond of a processor.
const gcInterval = 100 * time.Millisecond

// floorFor is the highest floor of each of so many workers.
func floorFor(workers int) uint64 {
	return uint64(max(heapLeast, heapFloor/max(1, workers)))
}

// Bounds of GOGC: the default, and one below which a wrong reading does no harm.
const (
	gcDefault = 100
	gcMost    = 800

	// gcOwn is GOGC's lower bound while less than ownHeap lives: most of that is fetched
	// batches then, which hold no pointers and take no time to collect.
	gcOwn   = 60
	ownHeap = 64 << 20
	// gcMany is that bound with so many goroutines, whose stacks do take time: sarama has several
	// for each claim.
	gcMany         = 80
	manyGoroutines = 1000
)

// tuneGC keeps GOGC such that the heap is collected at a floor or at twice what
// lives (less than that if little lives), whichever is more. The floor is what is allocated in gcInterval, between
// heapLeast and most: a worker with little to do stays small. It follows the live heap
// and the rate from one collection to the next and leaves users' own GOGC alone;
// GOMEMLIMIT goes on to hold. It concerns the whole process, so it is for one that is
// a worker's own.
func tuneGC(most uint64) {
	if os.Getenv("GOGC") == "" {
		t := &gcTuner{set: debug.SetGCPercent, now: gcDefault, most: most}
		t.seen = readHeap()
		t.arm()
	}
}

// gcTuner notices each collection by an object that the collection finds dead.
type gcTuner struct {
	set  func(percent int) (old int)
	now  int
	most uint64
	seen heap // at the last collection
}

// heap is what the runtime says of it.
type heap struct {
	readAt    time.Time
	liveBytes uint64 // found by the last collection
	allocated uint64 // ever
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	h := heap{readAt: time.Now()}
	if s[0].Value.Kind() == metrics.KindUint64 && s[1].Value.Kind() == metrics.KindUint64 {
		h.liveBytes, h.allocated = s[0].Value.Uint64(), s[1].Value.Uint64()
	}
	return h
}

// sentinel is that object; not of size 0, since those are never collected.
type sentinel struct{ _ [16]byte }

func (t *gcTuner) arm() {
	runtime.AddCleanup(&sentinel{}, func(t *gcTuner) {
		t.adjust(readHeap())
		t.arm()
	}, t)
}

// adjust sets the percentage after a collection. Small changes are not worth
// stopping the world for.
func (t *gcTuner) adjust(h heap) {
	floor := t.floor(h)
	t.seen = h
	// However little lives, Go collects first at 4 MiB times GOGC / 100.
	most := min(gcMost, int(floor*100/(4<<20)))
	percent := most
	if h.liveBytes > 0 {
		ratio := floor * 100 / h.liveBytes
		percent = min(most, max(t.least(h), int(ratio-min(100, ratio))))
	}
	if d := percent - t.now; d > t.now/10 || -d > t.now/10 {
		t.set(percent)
		t.now = percent
	}
}

// least is the lower bound of GOGC.
func (t *gcTuner) least(h heap) int {
	switch {
	case h.liveBytes >= ownHeap:
		return gcDefault
	case runtime.NumGoroutine() >= manyGoroutines:
		return gcMany
	}
	return gcOwn
}

// floor is where the next collection should begin.
func (t *gcTuner) floor(h heap) uint64 {
	took := max(h.readAt.Sub(t.seen.readAt), time.Millisecond)
	made := float64(h.allocated-t.seen.allocated) * gcInterval.Seconds() / took.Seconds()
	return min(t.most, max(heapLeast, h.liveBytes+uint64(min(made, float64(t.most)))))
}
