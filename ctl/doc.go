// Package ctl controls a running supervisor: an HTTP+JSON service on a unix
// socket, its client, and the commands of racecarctl.
// It is not covered by the compatibility promise.
//
// The socket has mode 0600 and answers only processes of its own user and root.
// It is a convenience: everything that must work when the supervisor hangs
// (status, stop --force) also works through the pidfile's lock alone.
//
// The package asks a supervisor for what it needs through the interface
// Supervisor and knows nothing of how it is done. It talks to Kafka only in the
// commands that are about Kafka (produce, consume, lag, reset-offsets, dlq).
package ctl
