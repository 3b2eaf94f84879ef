package worker

import (
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/worker/lanes"
)

// A key whose pause is over while nothing may begin, since too much output is not acknowledged
// or the log jumps, is looked at when that has changed. A time that has passed would have the
// scheduler look again and again, with its lock held.
func TestNothingIsDueThatMayNotBegin(t *testing.T) {
	for name, block := range map[string]func(r *laneRunner, blocked bool){
		"output": func(r *laneRunner, blocked bool) {
			if r.unsettled = 0; blocked {
				r.unsettled = r.w.cfg.ProduceInFlight
			}
		},
		"jump": func(r *laneRunner, blocked bool) { r.jumping = blocked },
	} {
		t.Run(name, func(t *testing.T) {
			tt, clock := newScheduler(2, false, limits{}), newTestClock()
			tt.clock = *clock.clock()
			w := &worker{scheduler: tt, cfg: config.Config{Ordering: config.OrderingKey, Concurrency: 2, ProduceInFlight: 3}}
			w.lanesBudget = newLanesBudget(&w.cfg)
			p := newPartition(&membership{w: w}, topicPartition{"a", 0})
			p.inst = w.bareInstance(nil)
			p.begin(0, 0)
			c, _ := testCursor()
			p.cursor = *c
			p.runInLanes(0, offsetmap.Metadata{})
			r := p.lanes
			for offset, key := range []string{"failing", "slow"} { // a jump waits for what is in hand
				r.lanes.Add(&racecar.Message{Topic: "a", Offset: int64(offset), Key: []byte(key)})
			}
			failing := r.lanes.Next(clock.now())
			r.lanes.Next(clock.now())
			r.lanes.Fail([]*lanes.Message{failing}, lanes.Wait{Until: clock.now().Add(time.Second)}, false)
			block(r, true)
			clock.move(2 * time.Second)
			tt.mu.Lock()
			defer tt.mu.Unlock()
			if ready, when := r.ready(tt, clock.now()); ready || !when.IsZero() {
				t.Errorf("nothing may begin: ready %v, at %v, which is %v ago", ready, when, clock.now().Sub(when))
			}
			block(r, false)
			if ready, _ := r.ready(tt, clock.now()); !ready {
				t.Error("the key whose pause is over may not begin")
			}
		})
	}
}
