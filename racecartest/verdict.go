package racecartest

import (
	"fmt"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
)

// Verdict is how a worker treats the message of a call.
type Verdict string

// The verdicts on what Process or ProcessBatch returned.
const (
	Processed    Verdict = "processed"     // nil: the offset is committed
	Retried      Verdict = "retried"       // any other error: handed over again after a pause
	Held         Verdict = "held"          // racecar.Unavailable: held without counting an attempt until the dependency is available
	Skipped      Verdict = "skipped"       // racecar.Skip: reported and done
	DeadLettered Verdict = "dead-lettered" // racecar.DeadLetter: sent to the dead-letter topic; without one, retried
	Fatal        Verdict = "fatal"         // racecar.Fatal: the worker stops permanently
)

// VerdictOf returns the verdict on err, the result of a call. For racecar.FailedAt it is the
// verdict on the message that it names; if that is Retried or Held, the messages behind it
// wait too. VerdictOf does not know how many retries are left.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Processed
	}
	switch verdict.Of(err).Kind {
	case verdict.Skip:
		return Skipped
	case verdict.DeadLetter:
		return DeadLettered
	case verdict.Unavailable:
		return Held
	case verdict.Fatal:
		return Fatal
	}
	return Retried
}

// RetryAfter returns the pause that err asks for with racecar.RetryAfter; ok is false if err
// leaves it to pause_timeout. Of racecar.Unavailable it is the pause before the next probe.
func RetryAfter(err error) (d time.Duration, ok bool) {
	v := verdict.Of(err)
	if err == nil || v.Kind != verdict.Retry && v.Kind != verdict.Unavailable || v.After < 0 {
		return 0, false
	}
	return v.After, true
}

// Dependency returns the name of the dependency that err calls unavailable; ok is false if the
// verdict on err is not Held.
func Dependency(err error) (name string, ok bool) {
	if err == nil {
		return "", false
	}
	v := verdict.Of(err)
	return v.Dependency, v.Kind == verdict.Unavailable
}

// failedAt returns the index given to racecar.FailedAt; ok is false without one.
func failedAt(err error) (i int, ok bool) {
	v := verdict.Of(err)
	return v.Index, v.At
}

// outOfRange returns the error of a batch for a racecar.FailedAt with an index that it does not
// have: the index says nothing about what is done, so the whole batch is retried.
func outOfRange(err error, messages int) error {
	v := verdict.Of(err)
	return &verdict.Error{
		Kind: min(v.Kind, verdict.Retry), After: v.After, Dependency: v.Dependency,
		Err: fmt.Errorf("FailedAt(%d) of a batch of %d: %w", v.Index, messages, err),
	}
}
