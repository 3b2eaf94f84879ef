package consumers

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// shop is a database with one product, "tea".
type shop struct {
	booked map[any]bool
	away   bool
}

func (s *shop) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	switch {
	case s.away:
		return nil, io.ErrUnexpectedEOF
	case args[1] != "tea":
		return nil, &pgconn.PgError{Code: "23503"} // foreign_key_violation
	case s.booked[args[0]]:
		return driver.RowsAffected(0), nil
	}
	s.booked[args[0]] = true
	return driver.RowsAffected(1), nil
}

// order has a consumer process one message with a shop in place of the pool.
func order(t *testing.T, s *shop, value string) racecartest.Verdict {
	t.Helper()
	newConsumer := func(racecar.Runtime) (*OrderConsumer, error) { return &OrderConsumer{s}, nil }
	r := racecartest.Run(t, newConsumer, []*racecar.Message{{Topic: "orders", Value: []byte(value)}}, racecartest.WithoutSetup())
	return racecartest.VerdictOf(r.Errors[0])
}

func TestOrders(t *testing.T) {
	s := &shop{booked: map[any]bool{}}
	count := func(outcome string) float64 { return testutil.ToFloat64(processed.WithLabelValues(outcome)) }
	for _, tc := range []struct {
		value   string
		want    racecartest.Verdict
		outcome string // counted
	}{
		{`{"id":"o1","product":"tea"}`, racecartest.Processed, "booked"},
		{`{"id":"o1","product":"tea"}`, racecartest.Processed, "repeated"},
		{`{"id":"o2","product":"silver"}`, racecartest.Retried, "refused"},
		{`o3`, racecartest.DeadLettered, ""},
		{`{"product":"tea"}`, racecartest.DeadLettered, ""},
	} {
		before := count(tc.outcome)
		if got := order(t, s, tc.value); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.value, got, tc.want)
		}
		if tc.outcome != "" && count(tc.outcome) != before+1 {
			t.Errorf("%s is not counted as %s", tc.value, tc.outcome)
		}
	}
	if len(s.booked) != 1 {
		t.Errorf("booked %v", s.booked)
	}
	s.away = true
	if got := order(t, s, `{"id":"o4","product":"tea"}`); got != racecartest.Held {
		t.Errorf("without a database: %s, want %s", got, racecartest.Held)
	}
}

// A worker without a database waits for it, rather than to crash.
func TestWithoutADatabase(t *testing.T) {
	t.Setenv("DATABASE_URL", "host="+t.TempDir()) // no socket in there
	teardown, err := connect(t.Context(), racecartest.Runtime(t))
	if name, held := racecartest.Dependency(err); !held || name != "postgres" || teardown != nil {
		t.Errorf("error %v", err)
	}
}
