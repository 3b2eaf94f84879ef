package worker

import "time"

// clock is what pauses are measured by: the system's, but in tests.
type clock struct {
	now   func() time.Time
	after func(time.Duration, func()) stopper // calls the function then
}

// stopper is a *time.Timer.
type stopper interface{ Stop() bool }

func systemClock() clock {
	return clock{time.Now, func(d time.Duration, f func()) stopper { return time.AfterFunc(d, f) }}
}
