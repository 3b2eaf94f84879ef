package event

import (
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// The events of consuming, in the process of the worker they happen in. Those of
// messages come on the path of messages: without a subscriber they cost nothing.

// StartMainLoop: an executor begins to serve a partition (start_main_loop).
type StartMainLoop struct {
	Consumer, Group string
}

// MainLoop: it has served it, for one message or 50 ms, whichever is longer
// (main_loop).
type MainLoop struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Duration        time.Duration
}

// StartProcessMessage: a message is about to be handed to Process
// (start_process_message).
type StartProcessMessage struct {
	Consumer, Group string
	Message         *racecar.Message
}

// ProcessMessage: Process returned (process_message).
type ProcessMessage struct {
	Consumer, Group string
	Message         *racecar.Message
	Duration        time.Duration
	Err             error // also of a panic
	Done            int   // 1: it is done, after Err as well if that was a racecar.Skip; 0: not yet
}

// StartProcessBatch: messages are about to be handed to ProcessBatch
// (start_process_batch).
type StartProcessBatch struct {
	Consumer, Group string
	Messages        []*racecar.Message // of one partition, at least one
}

// ProcessBatch: ProcessBatch returned (process_batch).
type ProcessBatch struct {
	Consumer, Group string
	Messages        []*racecar.Message
	Duration        time.Duration
	Err             error // also of a panic
	Done            int   // how many of them are done, after Err as well: see racecar.FailedAt and racecar.Skip
}

// JoinGroup: the worker has joined its group, or tried to (join_group).
type JoinGroup struct {
	Consumer, Group string
	MemberID        string
	Generation      int32
	Duration        time.Duration
	Err             error
}

// LeaveGroup: the worker has left its group, or tried to (leave_group).
type LeaveGroup struct {
	Consumer, Group string
	Duration        time.Duration
	Err             error
}

// PollRetry: an error interrupted consuming, which is retried (poll_retry).
type PollRetry struct {
	Consumer, Group string
	Attempt         int // from 1
	Err             error
}

// PauseStatus: a partition is paused because a message failed, or no longer
// is (pause_status).
type PauseStatus struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	// Duration is how long it will be paused; 0: it goes on, racecar.PauseForever: until
	// it is resumed by hand.
	Duration time.Duration
}

// PartitionsAssigned: the worker was given partitions (partitions_assigned).
type PartitionsAssigned struct {
	Consumer, Group string
	Partitions      map[string][]int32
}

// PartitionsRevoked: the worker has given partitions up (partitions_revoked).
type PartitionsRevoked struct {
	Consumer, Group string
	Partitions      map[string][]int32
	Lost            bool // see racecar.Assignment.Lost
}

// Rebalance: the group gave out its partitions anew (rebalance).
type Rebalance struct {
	Consumer, Group string
	Generation      int32
}

// OffsetGap: a partition goes on elsewhere than where the group had
// committed, since that offset is out of range: messages were deleted before they
// were processed, or the topic is another one of that name (offset_gap).
type OffsetGap struct {
	Consumer, Group  string
	Topic            string
	Partition        int32
	Committed, Start int64
}

// CommitFailed: an offset could not be committed; it is tried again
// (commit_failed).
type CommitFailed struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Err             error
}

// DeadLetter: a message is in the dead-letter topic, and done (dead_letter).
type DeadLetter struct {
	Consumer, Group string
	Message         *racecar.Message
	DeadLetterTopic string
	Attempts        int
	Err             error // why
}

// Poisoned: a message has killed its process too often; without a dead-letter
// topic its partition is paused (poisoned). Or the batch that begins at Offset cannot be
// decoded, which pauses its partition in any case; Deaths is 0 then.
type Poisoned struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Deaths          int
	Reason          string // of the last death, or why it cannot be decoded
}

// ShutDown: the worker has finished with everything (shut_down).
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
func (ShutDown) EventName() string            { return "shut_down" }
