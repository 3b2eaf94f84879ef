// Package consumers processes in parallel.
package consumers

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// ParallelProcessingConsumer takes its time for each message; five processes
// share the partitions.
type ParallelProcessingConsumer struct{ rt racecar.Runtime }

// NewParallelProcessingConsumer makes one, in each of the processes.
func NewParallelProcessingConsumer(rt racecar.Runtime) (*ParallelProcessingConsumer, error) {
	return &ParallelProcessingConsumer{rt}, nil
}

// Process waits as for something slow, and leaves off when it must.
func (c *ParallelProcessingConsumer) Process(ctx context.Context, m *racecar.Message) error {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done(): // time is up: the message comes again, elsewhere
		return context.Cause(ctx)
	}
	c.rt.Logger.InfoContext(ctx, "processed", "partition", m.Partition, "offset", m.Offset)
	return nil
}

func init() {
	racecar.Register(NewParallelProcessingConsumer, racecar.Spec{
		Subscriptions:   []racecar.Subscription{{Topic: "some-topic"}},
		ParallelWorkers: 5,
	})
}
