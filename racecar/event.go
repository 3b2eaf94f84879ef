package racecar

// Event is something that happened; each kind is a type of its own, named by
// EventName as upstream names it (`process_message`, `join_group`, …).
// Observers switch on the type.
type Event interface {
	EventName() string
}
