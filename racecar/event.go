package racecar

// Event is something that happened in a worker, a supervisor or a producer. Package
// racecar/event has a type for each kind of event; subscribers switch on the type.
type Event interface {
	// EventName returns the name that upstream gives the notification, such as
	// "process_message" or "join_group".
	EventName() string
}
