// Package supervisor is the parent process: it starts workers, watches them, and replaces
// them when they die, hang, leak or are out of date. It is not covered by the
// compatibility promise.
//
// It promises that a worker which fails affects nobody but itself, that no process
// outlives it for long, and that each decision is in the status and the log with its
// reason. It knows nothing of Kafka: a worker's task comes with the wire.Plan, and a child
// process asks brokers what has to be asked.
//
// Package fleet decides. One goroutine, the loop of Supervisor.Run, takes one event at a
// time (a signal, a message of a worker, an exit, a timer, a request of the control API),
// hands it to the fleet and carries out the effects that the fleet returns. Package
// process starts and observes real processes; tests have others.
//
// # Files
//
//	supervisor.go the loop and the effects
//	messages.go   messages from workers, and their exits
//	replies.go    commands to workers, and the replies
//	signals.go    what signals ask for
//	control.go    what operators ask for
//	plan.go       the check of a new program before a rolling restart
//	worker.go     starting workers
//	observe.go    observing all workers, once a second
//	helper.go     children that do one thing: plan.go, removal.go
//	child.go      the goroutines of one process
//	notify.go     systemd
//
// Nothing in the loop blocks: logs, stderr and the sockets of workers are written by
// goroutines of their own behind bounded queues.
package supervisor
