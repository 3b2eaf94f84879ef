// Package consumers reads orders that were written with Protocol Buffers.
package consumers

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"example.com/protobuf/orderpb"

	"github.com/racecar-go/racecar/racecar"
)

// OrderConsumer adds up orders.
type OrderConsumer struct{ rt racecar.Runtime }

// NewOrderConsumer returns a OrderConsumer.
func NewOrderConsumer(rt racecar.Runtime) (*OrderConsumer, error) {
	return &OrderConsumer{rt}, nil
}

// Process logs the total of one order.
func (c *OrderConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var order orderpb.Order
	if err := proto.Unmarshal(m.Value, &order); err != nil {
		return racecar.DeadLetter(fmt.Errorf("not an order: %w", err))
	}
	total := int64(0)
	for _, item := range order.GetItems() {
		total += int64(item.GetCount()) * item.GetCents()
	}
	c.rt.Logger.InfoContext(ctx, "order", "id", order.GetId(), "total", total)
	return nil
}

func init() {
	racecar.Register(NewOrderConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "orders"}},
		MaxRetries:    5,
	})
}
