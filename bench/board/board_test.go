package board

import (
	"path/filepath"
	"testing"
	"time"
)

func TestBucketsAreInOrderAndFine(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<40; ns = ns*33/32 + 1 {
		i := bucket(ns)
		if i < last {
			t.Fatalf("%d ns is in bucket %d, after %d", ns, i, last)
		}
		last = i
		if low, high := floor(i), floor(i+1); ns < low || ns >= high || high-low > max(1, ns/16) {
			t.Fatalf("%d ns is in bucket %d, from %d to %d", ns, i, low, high)
		}
	}
}

func TestTwoMappingsShareCounters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "board")
	var boards [2]*Board
	for i := range boards {
		b, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		boards[i] = b
	}
	boards[0].Count(3, 5)
	boards[1].Count(0, 2)
	boards[0].Own(3, 42)
	for i := range 100 {
		boards[0].Late(time.Duration(i+1) * time.Millisecond)
	}
	b := boards[1]
	if b.Sum(8) != 7 || b.Counted(3) != 5 || b.Owner(3) != 42 || b.Owner(0) != 0 {
		t.Errorf("sum %d, partition 3: %d of %d, partition 0 of %d", b.Sum(8), b.Counted(3), b.Owner(3), b.Owner(0))
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond} {
		if got := b.Histogram().Quantile(q); got < want || got > want*9/8 {
			t.Errorf("quantile %v is %v, not about %v", q, got, want)
		}
	}
	h := b.Histogram()
	if got := h.Minus(h).Quantile(0.5); got != 0 {
		t.Errorf("without messages the median is %v", got)
	}
}
