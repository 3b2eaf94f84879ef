// Package status is the state of a running supervisor as JSON: workers report it, the
// control socket answers with it, and racecarctl, top, the status page and /metrics show
// it. Adding fields is compatible; renaming is not.
package status

import (
	"slices"
	"strconv"
	"time"
)

// State is the state of a worker.
type State string

// The states of a worker.
const (
	Starting State = "starting" // started, its consumer not constructed yet
	Standby  State = "standby"  // in a rolling restart: constructed, its predecessor still runs
	Waiting  State = "waiting"  // no broker reachable, a topic missing, or the constructor fails
	Joining  State = "joining"  // joining or rejoining the group
	Running  State = "running"
	Quiet    State = "quiet"    // the member stays in its group, no new calls
	Stopping State = "stopping" // finishing the calls in hand
	Backoff  State = "backoff"  // crashed, waiting for its restart
	Fatal    State = "fatal"    // stopped permanently
	Exited   State = "exited"   // stopped gracefully
)

// Member is a membership in a consumer group.
type Member struct {
	Group      string `json:"group"`
	InstanceID string `json:"instance_id,omitempty"` // empty: dynamic
	MemberID   string `json:"member_id,omitempty"`   // empty: not joined yet
	Generation int32  `json:"generation,omitempty"`
}

// PartitionState is the state of a partition.
type PartitionState string

// The states of a partition.
const (
	PartitionRunning  PartitionState = "running"
	PartitionPaused   PartitionState = "paused"   // by an operator
	PartitionBackoff  PartitionState = "backoff"  // after a failure, until Until
	PartitionPoisoned PartitionState = "poisoned" // a message kills the worker, or a batch cannot be decoded
	PartitionBlocked  PartitionState = "blocked"  // its output or dead letters cannot be delivered, or its instance cannot be constructed
)

// Partition is one partition of a worker.
type Partition struct {
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	State     PartitionState `json:"state"`
	Reason    string         `json:"reason,omitempty"` // why it does not run, one line
	Until     *time.Time     `json:"until,omitempty"`
	Position  int64          `json:"position"`  // offset of the next message to be processed
	Committed int64          `json:"committed"` // -1: unknown
	End       int64          `json:"end"`       // the log's end offset, asked from the broker; -1: unknown
	// Lag is End - Position - Beyond, 0 if only transaction markers lie between them; -1:
	// unknown.
	Lag int64 `json:"lag"`
	// LagSeconds is the age of the message at Position or, if that is not fetched yet, how
	// long there has been lag; 0 without lag.
	LagSeconds float64 `json:"lag_seconds"`
	Processed  uint64  `json:"processed"` // messages since assignment
	Rate       float64 `json:"rate"`      // messages per second
	Errors     uint64  `json:"errors"`
	Retries    int     `json:"retries"`   // failed attempts at the message in hand
	InFlight   int     `json:"in_flight"` // messages whose output is unacknowledged
	LastError  string  `json:"last_error,omitempty"`
	Stalled    bool    `json:"stalled,omitempty"` // no progress for stall_timeout though Lag > 0

	// The following are zero with ordering: partition. Position is then the lowest offset
	// that is not finished.

	Beyond      int64 `json:"finished_beyond,omitempty"` // messages finished beyond Position
	InHand      int   `json:"in_hand,omitempty"`         // messages in hand
	WaitingKeys int   `json:"waiting_keys,omitempty"`    // keys whose next message waits for another attempt
	// OldestWaiting are at most MaxWaitingKeys of them, those that have waited longest first.
	OldestWaiting []WaitingKey `json:"oldest_waiting_keys,omitempty"`
	// WindowFull is the message at Position while no further message can begin before it
	// is finished, because the commit's metadata has no room for more; nil: there is room.
	WindowFull *WaitingKey `json:"window_full,omitempty"`
}

// MaxWaitingKeys is how many keys Partition.OldestWaiting names at most.
const MaxWaitingKeys = 10

// WaitingKey is a message that holds up the later messages of its key.
type WaitingKey struct {
	Key      string     `json:"key"` // as KeyText writes it
	Offset   int64      `json:"offset"`
	Attempts int        `json:"attempts"`        // failed calls
	Since    time.Time  `json:"since"`           // of its first failure, or of its first call
	Until    *time.Time `json:"until,omitempty"` // when it is retried; nil: it is in hand, or waits for `racecarctl resume`
}

// Outage is a dependency that consumer code found unavailable. It is no State: a consumer
// with an outage runs, and serves everything that does not need the dependency.
type Outage struct {
	Dependency string    `json:"dependency"` // empty: it has no name
	Since      time.Time `json:"since"`
	Held       int       `json:"held"`                // partitions, keys or messages that wait for it
	Probes     int       `json:"probes"`              // so far
	Pause      float64   `json:"pause_seconds"`       // between the probes at present
	Prober     string    `json:"prober,omitempty"`    // the worker that probes now
	Error      string    `json:"error,omitempty"`     // the last one
	NotReady   bool      `json:"not_ready,omitempty"` // outage_not_ready
}

// Problem is a recent error.
type Problem struct {
	At        time.Time `json:"at"`
	Topic     string    `json:"topic,omitempty"`
	Partition int32     `json:"partition,omitempty"`
	Offset    int64     `json:"offset,omitempty"`
	Error     string    `json:"error"`
}

// Report is what a worker reports about itself.
type Report struct {
	At         time.Time          `json:"at"`
	Members    []Member           `json:"members"`
	Partitions []Partition        `json:"partitions"`
	Problems   []Problem          `json:"problems,omitempty"` // the last 20
	Counters   map[string]uint64  `json:"counters"`           // since the process started, by the names below; from its scoreboard
	Gauges     map[string]float64 `json:"gauges,omitempty"`
	// InHand is the number of calls in hand; Concurrency is the most there can be, 0 if the
	// worker's release does not report it.
	InHand      int `json:"in_hand"`
	Concurrency int `json:"concurrency"`
	// Ordering is key or none; empty: the order of partitions.
	Ordering string `json:"ordering,omitempty"`
	// Histogram is processing time: Counts[i] calls took at most Bounds[i] seconds, the last more.
	Histogram Histogram `json:"histogram"`
	RSS       int64     `json:"rss"`         // bytes
	CPU       float64   `json:"cpu_seconds"` // user and system, since start
	Live      bool      `json:"live"`
	// LogProblem is one line if nobody reads the worker's log.
	LogProblem string `json:"log_problem,omitempty"`
}

// Work is the sum of what one or several processes have done.
type Work struct {
	Counters map[string]uint64 // by the names below
	Times    Histogram         // of processing
	CPU      float64           // seconds
}

// Add adds o.
func (w *Work) Add(o Work) {
	if w.Counters == nil {
		w.Counters = map[string]uint64{}
	}
	for k, v := range o.Counters {
		w.Counters[k] += v
	}
	w.Times.Add(o.Times)
	w.CPU += o.CPU
}

// Histogram of durations in seconds; len(Counts) == len(Bounds)+1.
type Histogram struct {
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []uint64  `json:"counts,omitempty"`
	Sum    float64   `json:"sum"`
}

// Add adds o's calls to h's. If the bounds differ, as between releases, o's calls count as
// longer than all bounds of h, so that the number of calls stays right.
func (h *Histogram) Add(o Histogram) {
	if len(o.Counts) == 0 {
		return
	}
	if len(h.Counts) == 0 {
		h.Bounds, h.Counts = slices.Clone(o.Bounds), make([]uint64, len(o.Bounds)+1)
	}
	h.Sum += o.Sum
	same := slices.Equal(h.Bounds, o.Bounds)
	for i, n := range o.Counts {
		if !same || i >= len(h.Counts) {
			i = len(h.Counts) - 1
		}
		h.Counts[i] += n
	}
}

// The names in Report.Counters.
const (
	CountMessages      = "messages"
	CountBatches       = "batches"
	CountErrors        = "errors"
	CountSkipped       = "skipped"
	CountDeadLetters   = "dead_letters"
	CountProduced      = "produced"
	CountAcknowledged  = "acknowledged"
	CountProduceErrors = "produce_errors"
	CountCommits       = "commits"
	CountCommitErrors  = "commit_errors"
	CountRebalances    = "rebalances"
	CountJoins         = "joins"
	CountPauses        = "pauses"
	CountOffsetGaps    = "offset_gaps"
	// CountUnknownMessages are those between supervisor and worker of a kind that the
	// receiver does not know: the two are of different releases.
	CountUnknownMessages = "unknown_messages"
)

// Worker is a slot of a consumer, as the supervisor sees it.
type Worker struct {
	Consumer   string     `json:"consumer"`
	Index      int        `json:"index"`
	PID        int        `json:"pid,omitempty"`
	State      State      `json:"state"`
	Detail     string     `json:"detail,omitempty"` // e.g. the address waited for
	Since      time.Time  `json:"since"`            // of State
	StartedAt  *time.Time `json:"started_at,omitempty"`
	Restarts   int        `json:"restarts"`
	LastExit   string     `json:"last_exit,omitempty"` // reason, one line
	LastStderr string     `json:"last_stderr,omitempty"`
	Group      string     `json:"group"`
	Release    int        `json:"release"` // 1: the first; each restart to another program or configuration has the next number
	Members    []Member   `json:"members,omitempty"`
	Processed  uint64     `json:"processed"` // over all processes of the slot
	Live       bool       `json:"live"`
	Outages    []string   `json:"outages,omitempty"` // the dependencies for which it holds something
	Report     *Report    `json:"report,omitempty"`  // nil: it did not answer in time
}

// Name is the worker's name, `UserBanConsumer[2]`.
func (w Worker) Name() string { return Name(w.Consumer, w.Index) }

// Status is the complete state.
type Status struct {
	Version   int        `json:"version"` // of this API: 1
	PID       int        `json:"pid"`
	StartedAt time.Time  `json:"started_at"`
	State     State      `json:"state"`
	Pidfile   string     `json:"pidfile,omitempty"`
	Socket    string     `json:"socket,omitempty"`
	Dir       string     `json:"dir,omitempty"` // where it was started
	Consumers []Consumer `json:"consumers"`
	Workers   []Worker   `json:"workers"`
	RSS       int64      `json:"rss"`
	// LogProblem is that of the supervisor; see Report.
	LogProblem string            `json:"log_problem,omitempty"`
	Totals     map[string]uint64 `json:"totals"` // counters of all workers, including those that have ended
	RestartsBy map[string]uint64 `json:"restarts_by_reason"`
}

// Consumer is one consumer under the supervisor.
type Consumer struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Workers int    `json:"workers"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"` // why it is fatal
	// Paused is what an operator has paused, assigned or not.
	Paused []Paused `json:"paused,omitempty"`
	// Outages are those that its workers are in.
	Outages []Outage `json:"outages,omitempty"`
	// OutageSeconds is how long it has been in outages, by dependency. It never decreases,
	// and keeps each dependency that had one.
	OutageSeconds map[string]float64 `json:"outage_seconds,omitempty"`
	// The sums over all its processes, including those that have ended. They never decrease.
	Totals   map[string]uint64 `json:"totals,omitempty"`
	Times    Histogram         `json:"times"` // of processing
	CPU      float64           `json:"cpu_seconds"`
	Restarts int               `json:"restarts"`
}

// Paused is a partition that an operator has paused; -1: the whole topic.
type Paused struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// Name is the name of worker index of a consumer.
func Name(consumer string, index int) string {
	return consumer + "[" + strconv.Itoa(index) + "]"
}
