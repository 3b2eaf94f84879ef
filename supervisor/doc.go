// Package supervisor is the parent process: it starts workers, watches them,
// and replaces them when they die, hang, leak or are out of date.
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
//	registry.go   what is known: consumers, slots, processes; the effects
//	policy.go     when a crashed slot is started again, when it is given up
//	ended.go      what the end of a process means
//	limits.go     frozen, stuck, join stuck, memory, and the ladder to SIGKILL
//	suspects.go   which messages kill the processes that handle them
//	stopping.go   the ordered end, scale-down, leaving the group
//	roll.go       rolling restarts and the way back
//	supervisor.go the loop and the effects
//	child.go      one process: its reader, its writer, its end
//	exec*.go      real processes; tests have others
//
// Nothing in the loop blocks: logs, stderr and the sockets of workers are
// written by goroutines of their own behind bounded queues.
package supervisor
