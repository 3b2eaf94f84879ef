// Package consumers books orders in PostgreSQL.
package consumers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/racecar-go/racecar/racecar"
)

// processed is on the supervisor's /metrics, with the labels consumer and worker added.
var processed = promauto.NewCounterVec(prometheus.CounterOpts{Name: "shop_orders_total", Help: "Orders by outcome."}, []string{"outcome"})

// database is what a consumer needs of *sql.DB; tests have another.
type database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// pool is shared by all instances of a worker. connect sets it before the first one is made.
var pool *sql.DB

func init() {
	racecar.Setup(connect)
	racecar.Register(NewOrderConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "orders"}},
		Concurrency:   4,
		MaxRetries:    2, // for orders that the database refuses
	})
}

// connect opens the pool and brings the schema up to date.
func connect(ctx context.Context, rt racecar.Runtime) (teardown func(context.Context) error, err error) {
	if pool, err = sql.Open("pgx", os.Getenv("DATABASE_URL")); err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(rt.Config.Concurrency + 1)
	if err := migrate(ctx, pool); err != nil {
		return nil, errors.Join(unavailable(err), pool.Close())
	}
	return func(context.Context) error { return pool.Close() }, nil
}

// migrate may run in several workers at once: the lock lets one after the other in, and is
// released with its transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"SELECT pg_advisory_xact_lock(20261130)",
		"CREATE TABLE IF NOT EXISTS products (id text PRIMARY KEY)",
		"CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, product text NOT NULL REFERENCES products)",
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// OrderConsumer books orders.
type OrderConsumer struct{ db database }

// NewOrderConsumer returns an OrderConsumer that books in the pool.
func NewOrderConsumer(racecar.Runtime) (*OrderConsumer, error) { return &OrderConsumer{pool}, nil }

// Process books one order. An order that comes again, after a crash or a replay, is not booked
// again.
func (c *OrderConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var order struct{ ID, Product string }
	if err := json.Unmarshal(m.Value, &order); err != nil {
		return racecar.DeadLetter(fmt.Errorf("not an order: %w", err))
	}
	if order.ID == "" {
		return racecar.DeadLetter(errors.New("an order without an id"))
	}
	booked, err := c.db.ExecContext(ctx, "INSERT INTO orders (id, product) VALUES ($1, $2) ON CONFLICT DO NOTHING", order.ID, order.Product)
	if err != nil {
		processed.WithLabelValues("refused").Inc()
		return unavailable(err)
	}
	outcome := "booked"
	if n, err := booked.RowsAffected(); err != nil || n == 0 {
		outcome = "repeated"
	}
	processed.WithLabelValues(outcome).Inc()
	racecar.Logger(ctx).Info("order processed", "order", order.ID, "outcome", outcome)
	return nil
}

// unavailable marks an error that does not count against the order: PostgreSQL did not answer.
func unavailable(err error) error {
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		return err
	}
	return racecar.Unavailable(err, "postgres")
}
