package wire

import "time"

// An outage is a dependency of a consumer that its workers found unavailable
// (racecar.Unavailable). Each worker reports what it holds because of it. The supervisor
// has one lease for each consumer and dependency and grants it to one worker at a time:
// that worker probes, which means that it calls the consumer with one of the messages it
// holds.

// Outage says what a worker holds because a dependency is unavailable. It is sent at each
// change; of several that wait to be sent only the newest matters.
type Outage struct {
	Dependency string `json:"dependency"` // as the consumer names it
	Held       int    `json:"held"`       // partitions, keys or messages; 0: nothing any more
	// Wants: something of it can be probed now, so that a lease is of use.
	Wants bool `json:"wants,omitempty"`
	// Calls counts the calls of this process that found the dependency unavailable. That
	// it has risen tells a new failure from news about what is held.
	Calls uint64 `json:"calls"`
	// Pause until the next probe that the consumer asked for (racecar.RetryAfter) in the
	// last of those calls; 0: it did not.
	Pause time.Duration `json:"pause,omitempty"`
	Error string        `json:"error,omitempty"` // of the last of those calls, one line
}

// ProbeResult is what became of a probe.
type ProbeResult string

// The results of probes.
const (
	ProbeAvailable   ProbeResult = "available"   // the call succeeded: the outage is over
	ProbeUnavailable ProbeResult = "unavailable" // the dependency is still unavailable
	ProbeFailed      ProbeResult = "failed"      // the call failed in another way
	ProbeReturned    ProbeResult = "returned"    // there was no call, or it ended without a result
)

// Probed gives a lease back. A worker sends it exactly once for each lease: with the
// result of the call, or ProbeReturned when there is none, because the partition was
// revoked or the worker stops. A worker that probes by itself sends it with Lease 0.
type Probed struct {
	Dependency string      `json:"dependency"`
	Lease      uint64      `json:"lease,omitempty"`
	Result     ProbeResult `json:"result"`
	// Pause until the next probe that the consumer asked for (racecar.RetryAfter) with
	// ProbeUnavailable; 0: it did not.
	Pause time.Duration `json:"pause,omitempty"`
	Error string        `json:"error,omitempty"` // of ProbeUnavailable and ProbeFailed, one line
}

// Lease allows a worker one probe. The worker chooses the message, in turn among what it
// holds.
type Lease struct {
	Dependency string `json:"dependency"` // as that worker names it
	ID         uint64 `json:"id"`
	// Within is how long the lease is valid (max_poll_interval). Then another worker may
	// have one.
	Within time.Duration `json:"within"`
}

// OutageState says how an outage goes on. The supervisor sends it at each change, and at
// least every outage_max_pause, to all workers that hold something because of it; with
// outage_scope consumer, to all workers of the consumer. A worker that holds something
// and has received none for twice that long probes by itself.
type OutageState struct {
	Dependency string `json:"dependency"` // as that worker names it
	// Ended: everything held for the dependency is released over a second.
	Ended bool          `json:"ended,omitempty"`
	Since time.Time     `json:"since"`
	Pause time.Duration `json:"pause"` // between the probes at present
	// Next is the time to the next probe; 0: it is due or under way.
	Next   time.Duration `json:"next,omitempty"`
	Probes int           `json:"probes"`           // so far
	Prober string        `json:"prober,omitempty"` // the worker that has the lease: `UserBanConsumer[2]`
}
