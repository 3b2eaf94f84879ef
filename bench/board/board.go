// Package board is memory that a contestant shares with the benchmark. The contestant counts its
// processed messages there, so that the benchmark measures all contestants alike and from
// outside, whatever language they are written in.
//
// The layout, in words of 8 bytes: a counter for each partition, a cache line
// apart (word 8×partition); beside it the process that counted last (word
// 8×partition+1); from Allocs on Go's allocations; from Latencies on a histogram.
// bench/contestants/librdkafka/main.c uses the same layout.
package board

import (
	"fmt"
	"math/bits"
	"os"
	"runtime/metrics"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layout.
const (
	Partitions = 1024 // at most
	Allocs     = 8 * Partitions
	Latencies  = Allocs + 8
	buckets    = 64 * fine
	fine       = 16 // buckets for each doubling
	words      = Latencies + buckets
)

// Size of the file, in bytes.
const Size = 8 * words

// Board is the mapped memory. Its methods may be called concurrently, by several processes too.
type Board struct{ w *[words]uint64 }

// Open maps the file at path. It creates the file if it does not exist.
func Open(path string) (*Board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(Size); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &Board{w: (*[words]uint64)(unsafe.Pointer(unsafe.SliceData(mem)))}, nil
}

// Close unmaps it.
func (b *Board) Close() error {
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(b.w)), Size))
}

// Count adds n messages of a partition.
func (b *Board) Count(partition int32, n int) {
	atomic.AddUint64(&b.w[8*partition], uint64(n))
}

// Own records the process that handles a partition.
func (b *Board) Own(partition int32, pid int) {
	if at := &b.w[8*partition+1]; atomic.LoadUint64(at) != uint64(pid) {
		atomic.StoreUint64(at, uint64(pid))
	}
}

// Counted returns the number of messages of a partition.
func (b *Board) Counted(partition int) uint64 { return atomic.LoadUint64(&b.w[8*partition]) }

// Owner returns the process that handles a partition; 0: none.
func (b *Board) Owner(partition int) int { return int(atomic.LoadUint64(&b.w[8*partition+1])) }

// Sum returns the number of messages of the first n partitions.
func (b *Board) Sum(n int) (sum uint64) {
	for p := range n {
		sum += b.Counted(p)
	}
	return sum
}

// Allocated returns the allocations that Watch has recorded: objects and bytes.
func (b *Board) Allocated() (objects, bytes uint64) {
	return atomic.LoadUint64(&b.w[Allocs]), atomic.LoadUint64(&b.w[Allocs+1])
}

// Watch records the allocations of this process every 20 ms until stop is closed.
func (b *Board) Watch(stop <-chan struct{}) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	var before [2]uint64
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		metrics.Read(samples)
		for i := range samples {
			now := samples[i].Value.Uint64()
			atomic.AddUint64(&b.w[Allocs+i], now-before[i])
			before[i] = now
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// Late records the latency of a message.
func (b *Board) Late(d time.Duration) {
	atomic.AddUint64(&b.w[Latencies+bucket(uint64(max(d, 0)))], 1)
}

// bucket returns the number of a duration's bucket. Buckets are 1/16 of a doubling wide.
func bucket(ns uint64) int {
	if ns < fine {
		return int(ns)
	}
	shift := bits.Len64(ns) - 5 // 2^4 ≤ ns>>shift < 2^5
	return min(buckets-1, fine*(shift+1)+int(ns>>shift)-fine)
}

// floor returns the shortest duration of a bucket.
func floor(bucket int) uint64 {
	if bucket < fine {
		return uint64(bucket)
	}
	return uint64(bucket%fine+fine) << (bucket/fine - 1)
}

// Histogram returns the latencies recorded so far.
func (b *Board) Histogram() *Histogram {
	var h Histogram
	for i := range h {
		h[i] = atomic.LoadUint64(&b.w[Latencies+i])
	}
	return &h
}

// Histogram counts latencies.
type Histogram [buckets]uint64

// Minus subtracts an earlier state.
func (h *Histogram) Minus(before *Histogram) *Histogram {
	d := *h
	for i := range d {
		d[i] -= before[i]
	}
	return &d
}

// Quantile returns the latency that the share q of messages did not exceed, to 1/16; 0 without
// messages.
func (h *Histogram) Quantile(q float64) time.Duration {
	var all, seen uint64
	for _, n := range h {
		all += n
	}
	for i, n := range h {
		if seen += n; n > 0 && float64(seen) >= q*float64(all) {
			return time.Duration(floor(i + 1))
		}
	}
	return 0
}
