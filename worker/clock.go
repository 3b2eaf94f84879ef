package worker

import "time"

// clock is what the worker measures time by: the system's, but in tests. By the system's
// clock in any case go deadlines of the process and its partitions, which are contexts, what
// is done at intervals, as commits are, and durations in events.
type clock struct {
	now   func() time.Time
	after func(time.Duration, func()) stopper // calls the function then
}

// stopper is a *time.Timer.
type stopper interface{ Stop() bool }

func systemClock() clock {
	return clock{time.Now, func(d time.Duration, f func()) stopper { return time.AfterFunc(d, f) }}
}
