package main

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/racecar"
)

// OrderConsumer logs orders.
type OrderConsumer struct{ log *slog.Logger }

// NewOrderConsumer returns a OrderConsumer.
func NewOrderConsumer(rt racecar.Runtime) (*OrderConsumer, error) {
	return &OrderConsumer{log: rt.Logger}, nil
}

// Process logs an order.
func (c *OrderConsumer) Process(_ context.Context, m *racecar.Message) error {
	c.log.Info("order", "key", string(m.Key), "bytes", len(m.Value))
	return nil
}

func init() {
	racecar.Register(NewOrderConsumer, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "orders"}}})
}
