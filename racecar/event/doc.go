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
// EventName returns the name that upstream (Ruby's Racecar) gives the notification, such as
// "process_message"; events that upstream does not have are named in the same way. Each
// type's comment has its name in brackets. An event is a value with exported fields alone, so
// that a subscriber's test can write it as a literal. Messages, slices and maps in it are
// shared with other subscribers: do not change them.
//
// Events of consuming, and of what consumers produce, happen in the worker's process; events
// of workers in the supervisor's; events of standalone producers in the process that has
// them. Events of each message cost nothing while there is no subscriber.
package event
