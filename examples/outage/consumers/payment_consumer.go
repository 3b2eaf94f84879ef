// Package consumers stores payments in PostgreSQL.
package consumers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/racecar-go/racecar/racecar"
)

// PaymentConsumer stores payments.
type PaymentConsumer struct{ db *sql.DB }

// NewPaymentConsumer connects to the database of DATABASE_URL. While that is away, the worker
// waits and calls it again.
func NewPaymentConsumer(racecar.Runtime) (*PaymentConsumer, error) {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS payments (id text PRIMARY KEY, cents bigint NOT NULL)")
	if err != nil {
		return nil, errors.Join(unavailable(err), db.Close())
	}
	return &PaymentConsumer{db}, nil
}

// Payment is the value of a message.
type Payment struct {
	ID    string `json:"id"`
	Cents *int64 `json:"cents"`
}

// Process stores one payment. A payment that is stored already is not stored again: the last
// messages are handed over again after a crash.
func (c *PaymentConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var p Payment
	if err := json.Unmarshal(m.Value, &p); err != nil {
		return racecar.DeadLetter(fmt.Errorf("not a payment: %w", err))
	}
	_, err := c.db.ExecContext(ctx, "INSERT INTO payments (id, cents) VALUES ($1, $2) ON CONFLICT DO NOTHING", p.ID, p.Cents)
	return unavailable(err)
}

// unavailable tells an error of the database itself from one of a payment. The first is nobody's
// fault: the payments wait. The second counts as an attempt.
func unavailable(err error) error {
	answer, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case !answered:
		return racecar.Unavailable(err, "postgres")
	}
	// See "PostgreSQL Error Codes" in its manual.
	for _, class := range []string{
		"08", // connection exception
		"53", // insufficient resources
		"57", // operator intervention: it shuts down or starts
		"58", // system error
	} {
		if strings.HasPrefix(answer.Code, class) {
			return racecar.Unavailable(err, "postgres")
		}
	}
	return err
}

// Teardown closes the connections.
func (c *PaymentConsumer) Teardown(context.Context) error { return c.db.Close() }

func init() {
	racecar.Register(NewPaymentConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "payments"}},
		MaxRetries:    3, // for payments that the database refuses
		PauseTimeout:  time.Second,
	})
}
