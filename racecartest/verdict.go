package racecartest

import (
	"fmt"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
)

// Verdict is what a worker makes of an error that Process or ProcessBatch
// returned.
type Verdict string

// The verdicts.
const (
	Processed    Verdict = "processed"     // no error: the offset is committed
	Retried      Verdict = "retried"       // any other error: called again after a pause
	Skipped      Verdict = "skipped"       // racecar.Skip: reported and done
	DeadLettered Verdict = "dead-lettered" // racecar.DeadLetter: to the dead-letter topic; without one, retried
	Fatal        Verdict = "fatal"         // racecar.Fatal: the worker ends for good
)

// VerdictOf says what a worker makes of err. Of a batch's racecar.FailedAt it is
// the verdict on the message it names; to be retried are all from that one on.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Processed
	}
	switch verdict.Of(err).Kind {
	case verdict.Skip:
		return Skipped
	case verdict.DeadLetter:
		return DeadLettered
	case verdict.Fatal:
		return Fatal
	}
	return Retried
}

// RetryAfter returns the pause that racecar.RetryAfter asks for; ok is false
// when err leaves it to pause_timeout.
func RetryAfter(err error) (d time.Duration, ok bool) {
	v := verdict.Of(err)
	if err == nil || v.Kind != verdict.Retry || v.After < 0 {
		return 0, false
	}
	return v.After, true
}

// failedAt returns the index that racecar.FailedAt named.
func failedAt(err error) (i int, ok bool) {
	v := verdict.Of(err)
	return v.Index, v.At
}

// outside is what a worker makes of racecar.FailedAt with an index that the batch does
// not have: such an index says nothing about what is done, so all of it is retried.
func outside(err error, messages int) error {
	v := verdict.Of(err)
	return &verdict.Error{
		Kind: min(v.Kind, verdict.Retry), After: v.After,
		Err: fmt.Errorf("FailedAt(%d) of a batch of %d: %w", v.Index, messages, err),
	}
}
