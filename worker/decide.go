package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/producer"
)

// eventKind is what decides what becomes of the messages of a call: how the call ended, or
// what came of it later.
type eventKind int

const (
	eventReturned              eventKind = iota // the call returned
	eventPanicked                               // it panicked, or ended its goroutine
	eventOutputRefused                          // its output was refused for good
	eventOutputUndelivered                      // its output was not acknowledged in time
	eventCommitRefused                          // the position behind it was not committed
	eventDied                                   // it was alone in hand when its process died
	eventDeadLetterTooLarge                     // its dead-letter record is larger than its topic allows
	eventDeadLetterInvalid                      // its dead-letter record is not one for its topic
	eventDeadLetterRefused                      // its dead-letter record was refused for good
	eventDeadLetterUndelivered                  // its dead-letter record was not acknowledged in time
)

// interruption says how a call was asked to end.
type interruption int

const (
	notInterrupted interruption = iota
	leavingClosed               // Leaving(ctx) was closed
	cancelled                   // ctx was cancelled: the partition was lost, or time was up
	overdue                     // ctx was cancelled: the call took longer than max_poll_interval
)

// outcome is an event with the facts about its call that decide needs.
type outcome struct {
	event       eventKind
	interrupted interruption
	err         error // nil: the call returned nil; else one that usableError has returned
	messages    int   // how many the call was handed
	batch       bool
	// mixed: the call has produced something that is held for a transaction, and
	// which of its messages that belongs to is not known.
	mixed         bool
	transactional bool
	attempts      []int // of each message; nil: only those of the first one are known
	deaths        int   // of eventDied
	truncated     bool  // the dead-letter record was sent without its value
	keyed         bool  // the dead-letter record had a key
}

// step is what becomes of messages.
type step int

const (
	stepDone       step = iota // the position moves over them
	stepRetry                  // they are handed over again after a pause
	stepAgain                  // they are handed over again, by us or by whoever is next: nothing has failed
	stepSplit                  // they are handed over again one by one
	stepDeadLetter             // they go to the dead-letter topic
	stepTruncate               // they go there without what makes them too large
	stepKey                    // they go there with a key, which a compacted topic wants
	stepResend                 // they are sent there again after a pause
	stepBlock                  // they are sent there again once a minute, or when resumed
	stepHold                   // they wait until they are resumed
	stepAwait                  // they wait until what they need is available: it is not their fault
	stepFatal                  // the worker ends for good
	stepCommit                 // the position is committed again
)

// action is what is done about an outcome.
type action struct {
	done     int // so many messages at the head are done
	step     step
	messages int   // how many behind those it is about
	err      error // why
	attempts int   // how often they have failed by now; of poison, how many deaths
	remember bool  // attempts are kept for the next call
	report   bool  // to the log, OnError and the status
	poison   bool  // they have killed their process too often
	// keep: what the call produced is awaited. Else it is dropped, since what produced
	// it is called again.
	keep    bool
	size    int           // of the batch that is called next; 0: as many as there are
	pause   time.Duration // of stepRetry, and before the next probe with stepAwait; negative: as configured
	needs   string        // of stepAwait: the dependency that is unavailable
	noTopic bool          // they would be dead-lettered if there were a topic
	usedUp  bool          // of stepDeadLetter: no retries are left
}

// decide says what becomes of a call's messages, of which the first has failed so
// often before. It is the one place where that is decided; docs/handling-errors.md
// has it as a table.
func decide(o outcome, attempts int, c *config.Config) action {
	a := action{messages: o.messages, err: o.err, attempts: attempts, pause: -1, report: true}
	switch o.event {
	case eventReturned, eventPanicked:
		if o.err == nil {
			return action{step: stepDone, messages: o.messages, keep: true}
		}
		return decideFailure(o, attempts, c)
	case eventOutputRefused:
		return a.retry(o, true, c)
	case eventOutputUndelivered:
		return a.retry(o, false, c)
	case eventCommitRefused:
		a.report = false
		if a.step = stepCommit; o.transactional {
			a.step = stepAgain // the offset is part of the transaction
		}
	case eventDied:
		a.attempts, a.poison = o.deaths, true
		switch {
		case o.deaths < wire.PoisonedAfter:
			a.step, a.report = stepAgain, false
		case c.DeadLetterTopic != "":
			a.step = stepDeadLetter
		default:
			a.step, a.noTopic = stepHold, true
		}
	case eventDeadLetterTooLarge:
		if a.step = stepTruncate; o.truncated {
			a.step = stepBlock
		}
	case eventDeadLetterInvalid:
		if a.step = stepKey; o.keyed {
			a.step = stepBlock
		}
	case eventDeadLetterRefused:
		a.step = stepBlock
	case eventDeadLetterUndelivered:
		a.step = stepResend
	}
	return a
}

// decideFailure is decide for a call that failed.
func decideFailure(o outcome, attempts int, c *config.Config) action {
	v := verdict.Of(o.err)
	a := action{messages: o.messages, err: o.err, attempts: attempts, report: true, pause: v.After}
	switch {
	case !v.At || !o.batch:
	case v.Index < 0 || v.Index >= o.messages:
		// Such an index says nothing about what is done.
		a.err = fmt.Errorf("FailedAt(%d) of a batch of %d: %w", v.Index, o.messages, o.err)
		v.Kind = min(v.Kind, verdict.Retry)
	default:
		a.done, a.messages = v.Index, 1
	}
	if a.done > 0 {
		a.attempts = 0 // they are the first message's
		if o.attempts != nil {
			a.attempts = o.attempts[a.done]
		}
	}
	moves := a.done > 0 || a.messages < o.messages && (v.Kind == verdict.Skip || v.Kind == verdict.DeadLetter)
	interrupted := o.interrupted == cancelled || o.interrupted == leavingClosed && o.event == eventReturned
	switch {
	case o.mixed && moves && interrupted:
		return action{step: stepAgain, messages: o.messages, err: o.err}
	case o.mixed && moves:
		// Those that are done with are called by themselves, so that what is produced
		// then is theirs.
		return action{step: stepAgain, messages: o.messages, err: o.err, size: max(1, a.done)}
	case interrupted:
		return action{done: a.done, step: stepAgain, messages: o.messages - a.done, err: o.err, keep: a.done > 0}
	case o.interrupted == overdue:
		a.err = fmt.Errorf("%w: %w", errOverdue, a.err)
	}
	a.keep = a.done > 0 // nobody knows which output is theirs
	switch {
	case v.Kind == verdict.Unavailable: // attempts so far stay as they are
		a.step, a.needs = stepAwait, v.Dependency
		return a
	case v.Kind == verdict.Retry:
		return a.retry(o, isAttempt(o.err), c)
	case v.Kind == verdict.DeadLetter && c.DeadLetterTopic == "":
		a.noTopic = true
		return a.retry(o, isAttempt(o.err), c)
	case v.Kind == verdict.Fatal:
		a.step, a.remember = stepFatal, true
	case v.Kind == verdict.DeadLetter:
		a.step, a.keep = stepDeadLetter, true
	case v.Kind == verdict.Skip:
		a.step, a.keep = stepDone, true
	}
	a.attempts++
	return a
}

// retry has the messages of a handed over again, or gives them up when their
// retries are used up.
func (a action) retry(o outcome, counts bool, c *config.Config) action {
	a.step, a.remember = stepRetry, true
	if o.batch && a.messages == o.messages {
		a.size = o.messages
	}
	if !counts {
		return a
	}
	a.attempts++
	if c.MaxRetries <= 0 || a.attempts <= c.MaxRetries || a.messages == 0 {
		return a
	}
	switch {
	case c.DeadLetterTopic == "":
		a.noTopic = true
	case a.messages == 1:
		a.step, a.usedUp = stepDeadLetter, true
	default:
		a.step, a.size = stepSplit, 1
	}
	return a
}

// errOverdue is why a call has failed that was cancelled because it took too long, and
// the cause of that cancellation.
var errOverdue = errors.New("the call took longer than max_poll_interval and was cancelled")

// errNotAcknowledged is in what Produce and Deliver return when their ctx ends before
// there is room, or all is acknowledged.
var errNotAcknowledged = errors.New("output is not acknowledged yet")

// isAttempt reports whether a failure is an attempt: not when brokers did not
// acknowledge output, unless they refused some of it.
func isAttempt(err error) bool {
	refused, undelivered := false, errors.Is(err, errNotAcknowledged)
	eachDelivery(err, func(d *producer.DeliveryError) {
		refused = refused || d.Refused()
		undelivered = true
	})
	return refused || !undelivered
}

// eachDelivery calls f for each error of a delivery in err's tree.
func eachDelivery(err error, f func(*producer.DeliveryError)) {
	switch e := err.(type) { //nolint:errorlint // this is what unwraps
	case *producer.DeliveryError:
		f(e)
	case interface{ Unwrap() error }:
		eachDelivery(e.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			eachDelivery(one, f)
		}
	}
}
