//go:build !linux

package process

import "time"

// Reaper does nothing: containers are Linux.
type Reaper struct{}

// Reap does nothing.
func (*Reaper) Reap(time.Time, map[int]bool) ([]int, time.Time) { return nil, time.Time{} }
