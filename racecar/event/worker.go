package event

// The events of workers happen in the supervisor's process. Consumer is the name that the
// consumer is registered under, Index the worker's, as in racecar.Worker.

// WorkerStarted: a worker's process was started (worker_started).
type WorkerStarted struct {
	Consumer string
	Index    int
	PID      int
}

// WorkerExited: a worker's process has ended (worker_exited).
type WorkerExited struct {
	Consumer string
	Index    int
	PID      int
	// Reason is the label of the metric racecar_worker_restarts_total. When the worker was
	// asked to stop it is "stop", "scale", "restart", "memory" or "stopped permanently"; else "crash",
	// "oom", "killed", "permanent", "stuck", "join-stuck", "frozen", "frozen-stopped",
	// "boot-timeout" or "overdue".
	Reason string
	// Graceful says that the worker was asked to stop and shut down gracefully.
	Graceful bool
	Detail   string // how it ended, one line; empty if Graceful
}

// WorkerStoppedPermanently: a worker is not started again, because its failure is permanent
// or it failed too often (worker_stopped_permanently).
type WorkerStoppedPermanently struct {
	Consumer string
	Index    int    // -1: the whole consumer
	Detail   string // why, one line
}

func (WorkerStarted) EventName() string            { return "worker_started" }
func (WorkerExited) EventName() string             { return "worker_exited" }
func (WorkerStoppedPermanently) EventName() string { return "worker_stopped_permanently" }
