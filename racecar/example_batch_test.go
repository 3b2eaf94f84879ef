package racecar_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/racecar-go/racecar/racecar"
)

// SumConsumer adds up the lengths of messages.
type SumConsumer struct{ bytes int }

// ProcessBatch handles messages of one partition, in order, at least one.
func (c *SumConsumer) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	for i, m := range messages {
		if m.Value == nil {
			// The messages before this one are done, this one is dead-lettered, and the
			// messages behind it are handed over again.
			return racecar.FailedAt(i, racecar.DeadLetter(errors.New("no value")))
		}
		c.bytes += len(m.Value)
	}
	return nil
}

// A consumer of batches. Without FailedAt, an error has the whole batch processed again.
func ExampleFailedAt() {
	c := &SumConsumer{}
	err := c.ProcessBatch(context.Background(), []*racecar.Message{
		{Offset: 10, Value: []byte("four")},
		{Offset: 11},
		{Offset: 12, Value: []byte("more")},
	})
	fmt.Println(c.bytes, err)
	// Output: 4 no value
}
