package monitor

import (
	"testing"

	"github.com/racecar-go/racecar/internal/scoreboard"
)

func TestEachCounterOfTheScoreboardIsAMetric(t *testing.T) {
	for name := range new(scoreboard.Counters).Work().Counters {
		if _, ok := consumerCounters[name]; !ok {
			t.Errorf("the counter %q is not on /metrics", name)
		}
	}
}
