package worker

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/internal/appmetrics"
)

// metricsInterval is how often the metrics of consumer code are sent. What was counted
// since is lost when the process is killed.
const metricsInterval = time.Second

// sendMetrics sends the metrics of consumer code once a second while ctx lasts, and once
// more at its end.
func (w *worker) sendMetrics(ctx context.Context) {
	if w.cfg.StatusAddr == "" {
		return // nobody can ask for them
	}
	gatherer, err := appmetrics.NewGatherer()
	if err != nil {
		w.log.WithError(err).Error("metrics of consumer code are not sent")
		return
	}
	sent, logged := false, ""
	tick := time.NewTicker(metricsInterval)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
		encoded, err := gatherer.Gather()
		if err != nil && err.Error() != logged {
			logged = err.Error()
			w.log.WithError(bounded(err)).Error("metrics of consumer code could not be gathered")
		}
		if sent = sent || len(encoded) > 0; sent {
			w.sender.sendMetrics(encoded)
		}
	}
}
