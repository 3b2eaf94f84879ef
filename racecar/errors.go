package racecar

import (
	"errors"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
)

// errUnspecified replaces a nil error given to one of the functions below.
var errUnspecified = errors.New("unspecified error")

// Skip returns an error that has the worker report err (to the log, the metrics and
// Config.OnError) and go on with the next message, as if the call had returned nil. From
// ProcessBatch it concerns the whole batch. What the call produced is delivered before the
// offset is committed.
//
// Skip and the functions below may be wrapped (fmt.Errorf with %w); a nil err is replaced by
// "unspecified error".
func Skip(err error) error { return disposed(verdict.Skip, -1, err) }

// DeadLetter returns an error that has the worker send the message to the dead-letter topic
// at once, without further attempts, and go on with the next one. From ProcessBatch it
// concerns all messages of the batch. Without a dead_letter_topic (max_retries above 0
// configures one) the message is retried as after a plain error, and the log says so.
func DeadLetter(err error) error { return disposed(verdict.DeadLetter, -1, err) }

// RetryAfter returns an error that has the message retried after d instead of pause_timeout;
// 0 or less: at once. It counts as an attempt.
func RetryAfter(err error, d time.Duration) error { return disposed(verdict.Retry, max(d, 0), err) }

// Unavailable returns an error that says that something the consumer depends on is
// unavailable: a database, another service. The message is not at fault, so this counts
// as no attempt, and the message is never dead-lettered for it. Its partition is held and
// nothing of it is committed; partitions that do not report the same dependency are served.
// Of what is held one message at a time is tried, the probe: after 1 s, and after pauses
// that double up to outage_max_pause. The first success ends the outage. With ByKey the
// message's key is held, with Unordered the message, and each is retried by itself after
// such pauses.
//
// The name (at most 64 bytes; default "") distinguishes the dependencies of a consumer: an
// outage of one does not hold what needs another. A worker tells at most 16 names apart,
// further ones count as "". Of several names the first counts. Use constants: a name is a
// label of metrics.
//
// OnError hears of an outage once, and then once a minute. RetryAfter(Unavailable(err), d)
// makes the pause before the next probe d. Around an Unavailable, Skip, DeadLetter and
// Fatal override it; around another disposition, Unavailable overrides that one. From a
// constructor it has the worker wait and call the constructor again; from a hook or
// Teardown it is an ordinary error.
func Unavailable(err error, dependency ...string) error {
	if err == nil {
		err = errUnspecified
	}
	e := &verdict.Error{Kind: verdict.Unavailable, After: -1, Err: err}
	if len(dependency) > 0 {
		e.Dependency = dependency[0]
	}
	return e
}

// Fatal returns an error that stops the worker permanently: it is not restarted, and its
// consumer with it, and the message is not committed. From a constructor it does the same.
func Fatal(err error) error { return disposed(verdict.Fatal, -1, err) }

// FailedAt returns an error for ProcessBatch: message i (from 0) of the batch failed with
// err, and the messages before it are done. err may be one of Skip, DeadLetter, RetryAfter,
// Unavailable and Fatal, and concerns message i alone: once it is skipped or dead-lettered, the messages
// behind it are handed over again. After a plain error message i and those behind it are
// retried. An i outside of the batch says nothing about what is done, so the whole batch is
// retried.
//
// Of several FailedAt in an error (errors.Join) the smallest i counts, and of several
// dispositions the one that loses least: Fatal, then Unavailable, then a plain error or
// RetryAfter, then DeadLetter, then Skip. A plain error beside a FailedAt concerns the whole batch.
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
