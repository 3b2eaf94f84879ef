package event

import (
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// The events of consuming. Consumer is the name that the consumer is registered under,
// Group its consumer group.

// StartMainLoop: a worker begins to serve a partition (start_main_loop).
type StartMainLoop struct {
	Consumer, Group string
}

// MainLoop: the worker has served the partition, for one message or 50 ms, whichever takes
// longer (main_loop).
type MainLoop struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Duration        time.Duration
}

// StartProcessMessage: Process is about to be called (start_process_message).
type StartProcessMessage struct {
	Consumer, Group string
	Message         *racecar.Message
}

// ProcessMessage: Process has returned (process_message).
type ProcessMessage struct {
	Consumer, Group string
	Message         *racecar.Message
	Duration        time.Duration
	Err             error // of the call, or its panic
	Done            int   // 1: the message is done (after a racecar.Skip too); 0: not yet
}

// StartProcessBatch: ProcessBatch is about to be called (start_process_batch).
type StartProcessBatch struct {
	Consumer, Group string
	Messages        []*racecar.Message // of one partition, at least one
}

// ProcessBatch: ProcessBatch has returned (process_batch).
type ProcessBatch struct {
	Consumer, Group string
	Messages        []*racecar.Message // of one partition, at least one
	Duration        time.Duration
	Err             error // of the call, or its panic
	Done            int   // how many messages are done; see racecar.FailedAt and racecar.Skip
}

// JoinGroup: the worker has joined its group, or failed to (join_group). A failed join is retried,
// which is a PollRetry as well.
type JoinGroup struct {
	Consumer, Group string
	MemberID        string // empty if Err is not nil
	Generation      int32  // 0 if Err is not nil
	Duration        time.Duration
	Err             error
}

// LeaveGroup: the worker has left its group, or failed to (leave_group).
type LeaveGroup struct {
	Consumer, Group string
	Duration        time.Duration
	Err             error
}

// PollRetry: an error has interrupted consuming, which is retried (poll_retry).
type PollRetry struct {
	Consumer, Group string
	Attempt         int // from 1
	Err             error
}

// PauseStatus: a partition is paused because a message failed, or resumed (pause_status).
type PauseStatus struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	// Duration is how long the partition will be paused; 0: it is resumed,
	// racecar.PauseForever: until an operator resumes it.
	Duration time.Duration
}

// PartitionsAssigned: the worker was assigned partitions, in addition to those it has
// (partitions_assigned).
type PartitionsAssigned struct {
	Consumer, Group string
	Partitions      map[string][]int32 // numbers by topic
}

// PartitionsRevoked: the worker has given up partitions (partitions_revoked).
type PartitionsRevoked struct {
	Consumer, Group string
	Partitions      map[string][]int32 // numbers by topic
	Lost            bool               // see racecar.Assignment.Lost
}

// Rebalance: the group has assigned its partitions again (rebalance).
type Rebalance struct {
	Consumer, Group string
	Generation      int32
}

// OffsetGap: a partition continues at another offset than the committed one, which is out of
// range: messages were deleted before they were processed, or the topic was deleted and
// created again (offset_gap).
type OffsetGap struct {
	Consumer, Group  string
	Topic            string
	Partition        int32
	Committed, Start int64 // offsets
}

// CommitFailed: an offset could not be committed. It is committed again, unless the group
// refuses it permanently (commit_failed).
type CommitFailed struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Err             error
}

// DeadLetter: a message was written to the dead-letter topic, so it is done (dead_letter).
type DeadLetter struct {
	Consumer, Group string
	Message         *racecar.Message
	DeadLetterTopic string
	Attempts        int
	Err             error // of the last attempt
}

// Poisoned: a message has killed its process three times, and its partition is paused
// because there is no dead-letter topic; or the batch that begins at Offset cannot be decoded,
// which pauses its partition in any case (poisoned).
type Poisoned struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Deaths          int    // of the process; 0: the batch cannot be decoded
	Reason          string // of the last death, or the decoding error
}

// OutageStarted: a call of this worker was the first to find a dependency unavailable
// (racecar.Unavailable), and what it concerned is held (outage_started).
type OutageStarted struct {
	Consumer, Group string
	Dependency      string // the name given to racecar.Unavailable; empty: none
	Err             error
}

// OutageEnded: this worker holds nothing for a dependency any more, because it is available
// again or what was held was revoked (outage_ended).
type OutageEnded struct {
	Consumer, Group string
	Dependency      string
	Duration        time.Duration // since OutageStarted
}

// ShutDown: the worker has finished its shutdown (shut_down).
type ShutDown struct {
	Consumer, Group string
}

func (StartMainLoop) EventName() string       { return "start_main_loop" }
func (MainLoop) EventName() string            { return "main_loop" }
func (StartProcessMessage) EventName() string { return "start_process_message" }
func (ProcessMessage) EventName() string      { return "process_message" }
func (StartProcessBatch) EventName() string   { return "start_process_batch" }
func (ProcessBatch) EventName() string        { return "process_batch" }
func (JoinGroup) EventName() string           { return "join_group" }
func (LeaveGroup) EventName() string          { return "leave_group" }
func (PollRetry) EventName() string           { return "poll_retry" }
func (PauseStatus) EventName() string         { return "pause_status" }
func (PartitionsAssigned) EventName() string  { return "partitions_assigned" }
func (PartitionsRevoked) EventName() string   { return "partitions_revoked" }
func (Rebalance) EventName() string           { return "rebalance" }
func (OffsetGap) EventName() string           { return "offset_gap" }
func (CommitFailed) EventName() string        { return "commit_failed" }
func (DeadLetter) EventName() string          { return "dead_letter" }
func (Poisoned) EventName() string            { return "poisoned" }
func (OutageStarted) EventName() string       { return "outage_started" }
func (OutageEnded) EventName() string         { return "outage_ended" }
func (ShutDown) EventName() string            { return "shut_down" }
