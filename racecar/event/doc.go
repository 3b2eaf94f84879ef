// Package event has the events that subscribers given to racecar.Observe receive, a type
// for each kind:
//
//	racecar.Observe(func(e racecar.Event) {
//		switch e := e.(type) {
//		case event.ProcessMessage:
//			durations.Observe(e.Duration.Seconds())
//		case event.DeadLetter:
//			alert(e.Message, e.Err)
//		}
//	})
//
// EventName returns the name that Ruby's Racecar gives the notification, such as
// "process_message". Events are values with exported fields alone, so that a test of a
// subscriber can write them as literals. What a field points to (a message, a map) is
// shared: do not change it.
//
// Events of consuming and of a consumer's producing happen in the worker's process, those
// of workers in the supervisor's, those of standalone producers wherever these are. An
// event that nobody subscribes to costs nothing.
package event
