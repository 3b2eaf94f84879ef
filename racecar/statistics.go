package racecar

import "time"

// Statistics are the figures handed to OnStatistics.
type Statistics struct {
	At time.Time
}
