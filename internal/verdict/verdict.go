// Package verdict carries the error values of package racecar (Skip, DeadLetter, RetryAfter,
// Unavailable, Fatal, FailedAt) to the worker, which acts on them.
package verdict

import "time"

// Kind is the author's disposition of a failed message. Of several the smallest decides, since it
// loses least.
type Kind int

const (
	// Fatal stops the worker permanently.
	Fatal Kind = iota
	// Unavailable holds the message until what it depends on is available again.
	Unavailable
	// Retry pauses the partition and retries the message, as after a plain error.
	Retry
	// DeadLetter sends the message to the dead-letter topic now.
	DeadLetter
	// Skip reports the error and moves on.
	Skip
)

// Error is an author's error with its disposition. It may be wrapped; the outermost one decides.
type Error struct {
	Kind       Kind
	After      time.Duration // Retry only: the pause; negative: as configured
	Dependency string        // Unavailable only: its name
	Err        error         // never nil
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// At is the error of message Index of a batch, of which the messages before are done.
type At struct {
	Index int
	Err   error // never nil
}

func (e *At) Error() string { return e.Err.Error() }
func (e *At) Unwrap() error { return e.Err }

// Verdict is the meaning of an error with all errors in it.
type Verdict struct {
	Kind Kind
	// After is the pause of Retry, and of the next probe with Unavailable; negative: as
	// configured.
	After      time.Duration
	Dependency string // Unavailable only: its name
	At         bool   // the error concerns message Index of a batch, and the messages before are done
	Index      int
}

// Of reads err, all of its tree: errors.Join and others put several errors into
// one. On the way to each error the outermost Kind counts, but a Retry directly around
// an Unavailable is its pause. Of several the smallest
// index decides, and of what concerns the same message what loses least; Fatal
// decides wherever it stands. An error without an index beside one that has one
// concerns the whole batch, so nothing of it is known to be done.
func Of(err error) Verdict {
	var leaves []Verdict
	left := maxErrors
	collect(err, Verdict{Kind: Retry, After: -1}, nothing, &left, &leaves)
	if left <= 0 || len(leaves) == 0 {
		return Verdict{Kind: Retry, After: -1}
	}
	v := leaves[0]
	for _, leaf := range leaves[1:] {
		v = v.and(leaf)
	}
	return v
}

// maxErrors is how many errors a tree may have: one that unwraps to itself has no end.
const maxErrors = 10_000

// Finite reports whether err's tree has an end, near enough to be read.
func Finite(err error) bool {
	left := maxErrors
	collect(err, Verdict{}, nothing, &left, new([]Verdict))
	return left > 0
}

// disposition says which dispositions are around an error.
type disposition int

const (
	nothing   disposition = iota
	onlyRetry             // an Unavailable inside decides
	decided
)

// collect gathers what each error at the end of a branch says. v is what those
// above err say, and outer which dispositions they are.
func collect(err error, v Verdict, outer disposition, left *int, leaves *[]Verdict) {
	if *left--; *left < 0 {
		return
	}
	switch e := err.(type) { //nolint:errorlint // this is what unwraps
	case *Error:
		switch {
		case outer == nothing:
			v.Kind, v.After, v.Dependency = e.Kind, e.After, e.Dependency
		case outer == onlyRetry && e.Kind == Unavailable:
			v.Kind, v.Dependency = e.Kind, e.Dependency
		}
		if outer = decided; v.Kind == Retry && e.Kind == Retry {
			outer = onlyRetry
		}
	case *At:
		if !v.At || e.Index < v.Index {
			v.At, v.Index = true, e.Index
		}
	}
	var inside []error
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		inside = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		inside = e.Unwrap()
	}
	end := true
	for _, one := range inside {
		if one != nil {
			end = false
			collect(one, v, outer, left, leaves)
		}
	}
	if end {
		*leaves = append(*leaves, v)
	}
}

// and is the verdict of two errors of one call.
func (v Verdict) and(other Verdict) Verdict {
	if v.At == other.At && v.Index != other.Index {
		first, second := v, other
		if other.Index < v.Index {
			first, second = other, v
		}
		if second.Kind == Fatal {
			first.Kind = Fatal
		}
		return first
	}
	both := Verdict{Kind: min(v.Kind, other.Kind), After: max(v.After, other.After)}
	if v.At == other.At {
		both.At, both.Index = v.At, v.Index
	} else {
		both.Kind = min(both.Kind, Retry)
	}
	if both.Kind != Unavailable {
		return both
	}
	switch { // of an Unavailable beside others only its own pause and name
	case v.Kind != Unavailable:
		both.After, both.Dependency = other.After, other.Dependency
	case other.Kind != Unavailable:
		both.After, both.Dependency = v.After, v.Dependency
	default:
		both.Dependency = v.Dependency
	}
	return both
}
