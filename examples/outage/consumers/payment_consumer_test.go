package consumers

import (
	"database/sql"
	"io"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// The database's own errors hold payments, and those of a payment are attempts.
func TestUnavailable(t *testing.T) {
	for err, want := range map[error]racecartest.Verdict{
		nil:                                   racecartest.Processed,
		io.ErrUnexpectedEOF:                   racecartest.Held,
		error(&pgconn.PgError{Code: "57P01"}): racecartest.Held,    // admin_shutdown
		error(&pgconn.PgError{Code: "23502"}): racecartest.Retried, // not_null_violation
	} {
		if got := racecartest.VerdictOf(unavailable(err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// Without a database the constructor says what is missing, and a payment waits for it. What is
// no payment does not wait.
func TestWithoutADatabase(t *testing.T) {
	t.Setenv("DATABASE_URL", "host="+t.TempDir()) // no socket in there
	_, err := NewPaymentConsumer(racecartest.Runtime(t))
	if name, held := racecartest.Dependency(err); !held || name != "postgres" {
		t.Errorf("%v", err)
	}
	result := racecartest.Run(t, func(racecar.Runtime) (*PaymentConsumer, error) {
		db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
		return &PaymentConsumer{db}, err
	}, []*racecar.Message{{Value: []byte(`{"id":"a","cents":250}`)}, {Value: []byte("no payment")}})
	for i, want := range []racecartest.Verdict{racecartest.Held, racecartest.DeadLettered} {
		if got := racecartest.VerdictOf(result.Errors[i]); got != want {
			t.Errorf("message %d: %s, want %s (%v)", i, got, want, result.Errors[i])
		}
	}
}
