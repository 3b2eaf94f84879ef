package cli

import (
	"context"

	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/monitor"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/worker"
)

// runWatched runs a worker whose events go where configuration and subscribers
// want them.
func runWatched(ctx context.Context, o worker.Options, log *logs.Log) int {
	m, err := monitor.NewWorker(&o.Handshake.Consumer.Config, racecar.Observers(), log)
	if err != nil {
		return lastWords(o.Conn, err, true)
	}
	if d := m.Datadog(); d != nil {
		// Standalone producers in this process tell the subscribers themselves. Only
		// after Observers was asked: the worker's own events come through Emit.
		racecar.Observe(d.Observe)
	}
	o.Emit, o.EmitStarts = m.Emit(), m.Starts()
	code := worker.Run(ctx, o)
	if err := m.Close(); err != nil {
		log.WithError(err).Warn("Last metrics lost")
	}
	return code
}
