package racecar

import (
	"errors"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
)

// errUnspecified stands in where one of the functions below is given nil.
var errUnspecified = errors.New("unspecified error")

// Skip reports err (log, metrics, OnError) and goes on with the next message:
// this one is done. In a batch, the whole batch is done. What the call produced is
// delivered all the same, before the offset moves.
func Skip(err error) error { return disposed(verdict.Skip, -1, err) }

// DeadLetter sends the message (all messages of a batch) to the dead-letter
// topic now, without further attempts. Where no dead_letter_topic is configured
// (max_retries configures one) it is retried like a plain error, and the log says so.
func DeadLetter(err error) error { return disposed(verdict.DeadLetter, -1, err) }

// RetryAfter retries after d instead of pause_timeout. It counts as an attempt.
func RetryAfter(err error, d time.Duration) error { return disposed(verdict.Retry, max(d, 0), err) }

// Fatal ends the worker, and with it its consumer, for good: it is not
// restarted. The message is not committed. From a constructor it does the same.
func Fatal(err error) error { return disposed(verdict.Fatal, -1, err) }

// FailedAt says that message i (counted from 0) of a batch failed with err and
// that those before it are done. err may be one of Skip, DeadLetter, RetryAfter
// and Fatal, and concerns message i alone: once it is skipped or dead-lettered,
// those behind it are handed over again. A plain error retries from i on. An i
// outside of the batch says nothing about what is done: the whole batch is retried.
//
// Of several FailedAt in an error (errors.Join) the smallest i counts, and of several
// dispositions the one that loses least: Fatal, then a plain error or RetryAfter, then
// DeadLetter, then Skip. A plain error beside a FailedAt concerns the whole batch.
func FailedAt(i int, err error) error {
	if err == nil {
		err = errUnspecified
	}
	return &verdict.At{Index: i, Err: err}
}

func disposed(kind verdict.Kind, after time.Duration, err error) error {
	if err == nil {
		err = errUnspecified
	}
	return &verdict.Error{Kind: kind, After: after, Err: err}
}
