package event

// The events of workers as processes. They happen in the supervisor's process,
// where subscribers are called as well; Index is that of the worker, as in
// racecar.Runtime.Worker.

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
	// Reason is a word or two: "stop", "scale", "restart", "memory" or "given up" when
	// it was asked to end; else "crash", "oom", "killed", "permanent", "stuck",
	// "join-stuck", "frozen", "frozen-stopped", "boot-timeout" or "overdue". The metric
	// racecar_worker_restarts_total has the same.
	Reason string
	// Graceful says that the worker was asked to stop and shut down gracefully.
	Graceful bool
	Detail   string // how it ended, one line; empty when Graceful
}

// WorkerStoppedPermanently: a worker is not started again, since its failure is
// permanent or there were too many (worker_stopped_permanently).
type WorkerStoppedPermanently struct {
	Consumer string
	Index    int    // -1: the consumer as a whole
	Detail   string // why, one line
}

func (WorkerStarted) EventName() string            { return "worker_started" }
func (WorkerExited) EventName() string             { return "worker_exited" }
func (WorkerStoppedPermanently) EventName() string { return "worker_stopped_permanently" }
