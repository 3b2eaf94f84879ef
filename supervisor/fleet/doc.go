// Package fleet is the core of the supervisor. It is not covered by the compatibility
// promise.
//
// It knows all workers and decides what happens to them. Its main function, Fleet.Step,
// takes an event and the time at which it happened, and returns effects for the caller to
// carry out. It makes no system
// call, has no clock and starts no goroutine, so everything it decides is tested with
// scripts (see testdata) in simulated time.
//
// # Desired state
//
// Each slot has one desired state and one target release. An event changes these, and
// settle compares them with the processes that exist and takes the next step: it starts a
// process, has one stand by, or stops one. It is called after each event for each slot and
// depends only on the current state, never on the event. So scaling, a rolling
// restart, a shutdown and a permanent failure cannot disagree about a slot: the last one
// to set its desired state wins.
//
// # Files
//
//	fleet.go      Step, and the state of all consumers
//	event.go      events
//	effect.go     effects
//	slot.go       desired state, settle, starting and stopping processes
//	release.go    what a slot runs, counted so that images can be closed
//	worker_events.go  reports of workers
//	exit.go       why a process ended, and what happens then
//	backoff.go    when a crashed slot is restarted, and when it no longer is
//	observe.go    what is observed: frozen, stuck, join stuck, memory
//	escalation.go the steps up to SIGKILL
//	suspects.go   messages that kill the processes that process them
//	outage.go     unavailable dependencies: one lease for a probe of each
//	rollout.go    rolling restarts, and going back
//	scale.go      the number of workers
//	shutdown.go   the graceful shutdown, and the removal of members from groups
//	operator.go   pausing, quiet and commands to all workers
//	ready.go      readiness
//	status.go     the complete state
package fleet
