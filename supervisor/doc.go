// Package supervisor is the parent process: it starts workers, watches them, and replaces
// them when they die, hang, leak or are out of date. It is not covered by the
// compatibility promise.
//
// It promises that a worker which fails affects nobody but itself, that no process
// outlives it for long, and that each decision is in the status and the log with its
// reason. It makes no requests to Kafka: the wire.Plan says what each worker consumes, and a
// child process removes members from groups.
//
// Package fleet decides. One goroutine, the loop of Supervisor.Run, takes one event at a
// time (a signal, a message from a worker, an exit, a timer, a request of the control API),
// hands it to the fleet and carries out the effects that the fleet returns. Package
// process starts and observes real processes; tests use simulated ones.
//
// # Files
//
//	options.go    what to supervise, and how
//	supervisor.go the loop and the effects
//	messages.go   messages from workers, and their exits
//	replies.go    commands to workers, and the replies
//	signals.go    signals
//	control.go    requests of operators
//	program_check.go  the check of a new program before a rolling restart
//	worker.go     starting workers
//	observe.go    observing all workers, once a second
//	appmetrics.go the metrics of consumer code
//	helper.go     children that do one thing and exit, for program_check.go and removal.go
//	removal.go    removing members from groups
//	child.go      the goroutines of one process
//	notify.go     systemd
//	banner.go     the messages of a start
//
// Nothing in the loop blocks: other goroutines write the log, stderr and the sockets of
// workers, from bounded queues.
package supervisor
