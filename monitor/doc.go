// Package monitor shows an operator what happens: in the workers it passes events to
// subscribers and to Datadog; beside the supervisor it serves Prometheus metrics, health
// checks and the status page, and maintains the liveness file.
// It is not covered by the compatibility promise.
//
// Nothing in it may slow down processing. Code on the path of messages takes a few dozen
// nanoseconds and never blocks; requests from outside are bounded in time and size.
package monitor
