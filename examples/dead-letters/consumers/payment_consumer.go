// Package consumers books payments.
package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/racecar-go/racecar/racecar"
)

// PaymentConsumer books payments into accounts.
type PaymentConsumer struct{ rt racecar.Runtime }

// NewPaymentConsumer returns a PaymentConsumer.
func NewPaymentConsumer(rt racecar.Runtime) (*PaymentConsumer, error) {
	return &PaymentConsumer{rt}, nil
}

// Payment is the value of a message.
type Payment struct {
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
}

// Process books one payment. There are three ways to fail:
func (c *PaymentConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var p Payment
	if err := json.Unmarshal(m.Value, &p); err != nil {
		// A person has to check it; a retry would not help.
		return racecar.DeadLetter(fmt.Errorf("not a payment: %w", err))
	}
	if p.Cents == 0 {
		// Nobody has to check it.
		return racecar.Skip(errors.New("a payment of nothing"))
	}
	if err := book(p); err != nil {
		// The bank may recover: Racecar retries, and dead-letters after MaxRetries.
		return err
	}
	c.rt.Logger.InfoContext(ctx, "booked", "account", p.Account, "cents", p.Cents)
	return nil
}

// book adds a payment to an account, which is a file in tmp/accounts. In this example an account
// is missing: create it, and replay the dead letters.
func book(p Payment) error {
	name := "tmp/accounts/" + p.Account
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no account %q", p.Account)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, p.Cents)
	return errors.Join(err, f.Close())
}

func init() {
	racecar.Register(NewPaymentConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "payments"}},
		MaxRetries:    2,
		PauseTimeout:  racecar.NoPause,
	})
}
