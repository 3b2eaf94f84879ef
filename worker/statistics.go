package worker

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// statistics calls OnStatistics of the instances that have it, every
// statistics_interval.
func (w *worker) statistics(ctx context.Context) {
	if w.cfg.StatisticsInterval <= 0 {
		return
	}
	for sleep(ctx, w.cfg.StatisticsInterval) {
		told := map[*instance]bool{}
		for _, p := range w.turns.all() {
			h, ok := p.inst.value.(racecar.StatisticsHook)
			if !ok || told[p.inst] {
				continue
			}
			told[p.inst] = true
			p.inst.hook("OnStatistics", func() error {
				h.OnStatistics(ctx, racecar.Statistics{At: time.Now()})
				return nil
			})
		}
	}
}
