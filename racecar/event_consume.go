package racecar

// ShutDownEvent: the worker has finished with everything (shut_down).
type ShutDownEvent struct{}

func (ShutDownEvent) EventName() string { return "shut_down" }
