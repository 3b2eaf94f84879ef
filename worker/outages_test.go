package worker

import (
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/outage"
)

// A partition that is being released is held by no outage that goes on: nobody would forget it
// again, and it would be counted as held for ever.
func TestOutageHoldsNoReleasedPartition(t *testing.T) {
	tt := newScheduler(1, false, limits{})
	tt.clock = *newTestClock().clock()
	tt.outages = newOutages(tt, outage.Options{Longest: defaultOutagePause, Random: func() float64 { return 0.5 }, Wide: true}, func() {})
	stays, goes := supplied(tt, topicPartition{"a", 0}, 1), supplied(tt, topicPartition{"a", 1}, 1)
	tt.retire(goes)
	tt.change(func() {
		tt.outages.set.Report(tt.clock.now(), stays, "db", -1, "away")
		tt.outages.holdAll()
		tt.outages.update()
		if _, waits := tt.outages.set.Waits(stays); !waits {
			t.Error("the partition that found it is not held")
		}
		if _, waits := tt.outages.set.Waits(goes); waits {
			t.Error("a partition that is being released is held")
		}
	})
	tt.retire(stays)
	tt.change(func() {
		for _, s := range tt.outages.set.States(tt.clock.now(), tt.outages.probeable) {
			if s.Held != 0 || !s.Since.IsZero() {
				t.Errorf("without partitions: %+v", s)
			}
		}
	})
	tt.remove(goes)
	tt.remove(stays)
	tt.stop()
}

// Lanes are not held as a whole, whatever the supervisor says: workers that are being replaced
// by ones with another order may have reported an outage, which no success in lanes would end.
func TestOutageOfTheWholeConsumerHoldsNoLanes(t *testing.T) {
	for ordering, want := range map[config.Ordering]bool{config.OrderingPartition: true, config.OrderingKey: false, config.OrderingNone: false} {
		w := &worker{cfg: config.Config{Ordering: ordering, OutageScope: "consumer"}}
		tt := newScheduler(1, false, limits{})
		tt.clock = *newTestClock().clock()
		tt.outages = newOutages(tt, w.outageOptions(), func() {})
		p := supplied(tt, topicPartition{"a", 0}, 1)
		tt.change(func() {
			tt.outages.set.Received(tt.clock.now(), "db", false, 1)
			tt.outages.holdAll()
			if _, waits := tt.outages.set.Waits(p); waits != want {
				t.Errorf("ordering %s: held %v", ordering, waits)
			}
		})
		tt.stop()
	}
}
