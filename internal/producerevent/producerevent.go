// Package producerevent carries what a standalone producer has to report to
// subscribers from package racecar to package event, which racecar cannot import.
package producerevent

import "time"

// Report is an event of a standalone producer. A field that an event does not have is
// zero.
type Report struct {
	Name        string // of the event: produce_sync, produce_async, acknowledged_message or produce_delivery_error
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration
	Partition   int32
	Offset      int64
	Err         error
}

// EventName makes a Report an event: that of a program that does not import package
// event and knows events by their names alone.
func (r Report) EventName() string { return r.Name }

// Event is the argument of subscribers.
type Event interface{ EventName() string }

// convert is set by package event while the program is initialized.
var convert = func(r Report) Event { return r }

// SetConvert has f make the events of package event.
func SetConvert(f func(Report) Event) { convert = f }

// Event returns the event that observers receive.
func (r Report) Event() Event { return convert(r) }
