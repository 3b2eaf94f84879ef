package racecar

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
)

func TestDispositionsKeepTheCause(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		kind  verdict.Kind
		after time.Duration
	}{
		"skip":        {Skip(io.EOF), verdict.Skip, -1},
		"dead letter": {DeadLetter(io.EOF), verdict.DeadLetter, -1},
		"retry after": {RetryAfter(io.EOF, time.Minute), verdict.Retry, time.Minute},
		"retry now":   {RetryAfter(io.EOF, -time.Minute), verdict.Retry, 0},
		"unavailable": {Unavailable(io.EOF, "db"), verdict.Unavailable, -1},
		"fatal":       {Fatal(io.EOF), verdict.Fatal, -1},
		"wrapped":     {fmt.Errorf("row 3: %w", Skip(io.EOF)), verdict.Skip, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var v *verdict.Error
			if !errors.As(test.err, &v) || v.Kind != test.kind || v.After != test.after {
				t.Errorf("got %+v", v)
			}
			if !errors.Is(test.err, io.EOF) {
				t.Error("the cause is gone")
			}
		})
	}
}

// A nil cause is a mistake that must neither turn a failure into success nor panic later.
func TestDispositionsOfNilAreErrors(t *testing.T) {
	for _, err := range []error{Skip(nil), DeadLetter(nil), RetryAfter(nil, 0), Unavailable(nil), Unavailable(nil, "db"), Fatal(nil), FailedAt(2, nil)} {
		if err == nil || err.Error() == "" {
			t.Errorf("got %v", err)
		}
	}
}

func TestFailedAtCarriesADisposition(t *testing.T) {
	err := FailedAt(4, Skip(io.EOF))
	var at *verdict.At
	var v *verdict.Error
	if !errors.As(err, &at) || at.Index != 4 || !errors.As(err, &v) || v.Kind != verdict.Skip {
		t.Errorf("got %+v, %+v", at, v)
	}
}
