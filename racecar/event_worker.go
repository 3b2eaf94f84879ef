package racecar

// The events of workers as processes. They happen in the supervisor's process,
// where subscribers are called as well; Index is that of the worker, as in
// Runtime.Worker.

// WorkerStartedEvent: a worker's process was started (worker_started).
type WorkerStartedEvent struct {
	Consumer string
	Index    int
	PID      int
}

// WorkerExitedEvent: a worker's process has ended (worker_exited).
type WorkerExitedEvent struct {
	Consumer string
	Index    int
	PID      int
	// Reason is a word or two: "stop", "scale", "restart", "memory" or "given up" when
	// it was asked to end; else "crash", "oom", "killed", "permanent", "stuck",
	// "join-stuck", "frozen", "frozen-stopped", "boot-timeout" or "overdue". The metric
	// racecar_worker_restarts_total has the same.
	Reason string
	// Ordered says that it was asked to end and did so in order.
	Ordered bool
	Detail  string // how it ended, one line; empty when Ordered
}

// WorkerGivenUpEvent: a worker is not started again, since its failure is
// permanent or there were too many (worker_given_up).
type WorkerGivenUpEvent struct {
	Consumer string
	Index    int    // -1: the consumer as a whole
	Detail   string // why, one line
}

func (WorkerStartedEvent) EventName() string { return "worker_started" }
func (WorkerExitedEvent) EventName() string  { return "worker_exited" }
func (WorkerGivenUpEvent) EventName() string { return "worker_given_up" }
