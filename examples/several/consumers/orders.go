// Package consumers turns orders into invoices and sends them.
package consumers

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/racecar-go/racecar/racecar"
)

// Order is the input, Invoice the output.
type (
	Order struct {
		ID    string `json:"id"`
		Cents int64  `json:"cents"`
	}
	Invoice struct {
		Order string `json:"order"`
		Total int64  `json:"total"`
	}
)

// OrderConsumer writes an invoice for each order.
type OrderConsumer struct{ out racecar.Producer }

// NewOrderConsumer returns a OrderConsumer.
func NewOrderConsumer(rt racecar.Runtime) (*OrderConsumer, error) {
	return &OrderConsumer{rt.Producer}, nil
}

// Process produces one invoice.
func (c *OrderConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var o Order
	if err := json.Unmarshal(m.Value, &o); err != nil {
		return racecar.Skip(fmt.Errorf("not an order: %w", err))
	}
	invoice, err := json.Marshal(Invoice{Order: o.ID, Total: o.Cents * 119 / 100})
	if err != nil {
		return err
	}
	return c.out.Produce(ctx, racecar.ProducerMessage{Topic: "invoices", Key: []byte(o.ID), Value: invoice})
}

func init() {
	racecar.Register(NewOrderConsumer, racecar.Spec{
		Subscriptions:   []racecar.Subscription{{Topic: "orders"}},
		ParallelWorkers: 2,
	})
}
