package worker

import (
	"math"
	"testing"
	"time"
)

// After a rebalance a partition has its rate as soon as half a second was measured.
func TestRateIsKnownSoonAfterAClaim(t *testing.T) {
	began := time.Now()
	g, rate := &progress{measuredAt: began}, 0.0
	for _, c := range []struct {
		after    time.Duration
		messages uint64
		want     float64
	}{
		{100 * time.Millisecond, 10, 0}, // too early
		{time.Second, 40, 40},
		{2 * time.Second, 80, 40},
		{3 * time.Second, 150, 50}, // 70 in a second of three
	} {
		if rate = g.measure(rate, c.messages, began.Add(c.after)); math.Abs(rate-c.want) > 1e-9 {
			t.Errorf("after %v: %v a second, want %v", c.after, rate, c.want)
		}
	}
}
