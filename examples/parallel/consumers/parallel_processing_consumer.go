// Package consumers processes in parallel.
package consumers

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// ParallelProcessingConsumer needs some time for each message. Five processes share the
// partitions.
type ParallelProcessingConsumer struct{ rt racecar.Runtime }

// NewParallelProcessingConsumer returns a consumer, in each of the processes.
func NewParallelProcessingConsumer(rt racecar.Runtime) (*ParallelProcessingConsumer, error) {
	return &ParallelProcessingConsumer{rt}, nil
}

// Process simulates a slow call that stops when its ctx ends.
func (c *ParallelProcessingConsumer) Process(ctx context.Context, m *racecar.Message) error {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done(): // the message is handed over again, to another process
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
