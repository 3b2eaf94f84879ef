package consumers

import (
	"context"

	"github.com/racecar-go/racecar/racecar"
)

// InvoiceConsumer sends invoices in batches.
type InvoiceConsumer struct{ rt racecar.Runtime }

// NewInvoiceConsumer returns a InvoiceConsumer.
func NewInvoiceConsumer(rt racecar.Runtime) (*InvoiceConsumer, error) {
	return &InvoiceConsumer{rt}, nil
}

// ProcessBatch sends some invoices.
func (c *InvoiceConsumer) ProcessBatch(ctx context.Context, invoices []*racecar.Message) error {
	for _, m := range invoices {
		c.rt.Logger.InfoContext(ctx, "sent", "invoice", string(m.Value))
	}
	return nil
}

func init() {
	racecar.Register(NewInvoiceConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "invoices"}},
	})
}
