package worker

import (
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
)

// What counting a message costs, for /metrics, status and OnStatistics alike.
func BenchmarkTally(b *testing.B) {
	var (
		t tally
		c scoreboard.Counters
		p partition
	)
	for i := 0; b.Loop(); i++ {
		t.observe(1, 12345*time.Nanosecond, false, false)
		if i%1000 == 999 {
			t.flush(&p, &c)
		}
	}
}
