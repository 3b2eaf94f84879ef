// Package supervisor is the parent process: it starts workers, watches them,
// and replaces them when they die, hang, leak or are out of date.
// It is not covered by the compatibility promise.
//
// It promises that a worker which fails hurts nobody but itself, that no
// process outlives it for long, and that each decision is in the status and
// the log with its reason. It knows nothing of Kafka: what a worker does comes
// with the wire.Plan it is given, and whatever has to be asked of a broker is
// asked by a child process.
//
// # How to find one's way
//
// One goroutine, the loop of Supervisor.Run, owns all state. It takes one event
// at a time (a signal, a message of a worker, an exit, a timer, a request of the
// control API), hands it to the registry and carries out the effects that the
// registry answers with. The registry decides and does nothing: no system
// call, no clock, no goroutine. That is why restart policy, limits, rolls and
// shutdown are tested with fake processes and invented time.
//
// Decisions, in the registry:
//
//	registry.go   what is known: consumers, slots, processes; the effects
//	heard.go      what workers say
//	ended.go      what the end of a process means
//	policy.go     when a crashed slot is started again, when it is given up
//	limits.go     frozen, stuck, join stuck, memory, and the ladder to SIGKILL
//	suspects.go   which messages kill the processes that handle them
//	stopping.go   the ordered end, and leaving the groups
//	scale.go      more workers, fewer workers
//	roll.go       rolling restarts and the way back
//	timing.go     what is due when
//	status.go     all of it, for whoever asks
//
// What is done about them, in the loop:
//
//	supervisor.go the loop and the effects
//	messages.go   messages from and commands to workers
//	orders.go     what signals ask for
//	control.go    what operators ask for
//	watch.go      a look at all workers, once a second
//	spawn.go      starting workers
//	oneshot.go    children that do one thing: plan.go, leaving.go
//	child.go      the goroutines of one process
//
// Outside the loop: package process starts and observes real processes (tests have
// others); notify.go.
//
// Nothing in the loop blocks: logs, stderr and the sockets of workers are
// written by goroutines of their own behind bounded queues.
package supervisor
