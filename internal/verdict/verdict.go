// Package verdict is how the error values of package racecar (Skip, DeadLetter,
// RetryAfter, Fatal, FailedAt) reach the worker that acts upon them.
package verdict

import "time"

// Kind is what the author wants done about a failed message.
type Kind int

const (
	// Retry pauses the partition and calls again: what a plain error means.
	Retry Kind = iota
	// Skip reports the error and moves on.
	Skip
	// DeadLetter sends the message to the dead-letter topic now.
	DeadLetter
	// Fatal ends the worker for good.
	Fatal
)

// Error is an author's error with what is to be done about it. A wrapped Error
// counts as well: the outermost one decides.
type Error struct {
	Kind  Kind
	After time.Duration // Retry only: the pause; negative: as configured
	Err   error         // never nil
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// At is the error of message Index of a batch: those before it are done.
type At struct {
	Index int
	Err   error // never nil
}

func (e *At) Error() string { return e.Err.Error() }
func (e *At) Unwrap() error { return e.Err }
