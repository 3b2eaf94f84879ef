// Package monitor is what lets an operator see: events handed to subscribers
// and to Datadog in the workers; Prometheus metrics, health checks, the
// liveness file and the status page beside the supervisor.
// It is not covered by the compatibility promise.
//
// Nothing in it may hurt processing. What runs on the path of messages takes a
// few dozen nanoseconds and never blocks; what is asked for from outside is
// bounded in time and size.
package monitor
