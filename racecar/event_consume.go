package racecar

import "time"

// The events of consuming, in the process of the worker they happen in. Those of
// messages come on the path of messages: without a subscriber they cost nothing.

// StartMainLoopEvent: an executor begins to serve a partition (start_main_loop).
type StartMainLoopEvent struct {
	Consumer, Group string
}

// MainLoopEvent: it has served it, for one message or 50 ms, whichever is longer
// (main_loop).
type MainLoopEvent struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Duration        time.Duration
}

// StartProcessMessageEvent: a message is about to be handed to Process
// (start_process_message).
type StartProcessMessageEvent struct {
	Consumer, Group string
	Message         *Message
}

// ProcessMessageEvent: Process returned (process_message).
type ProcessMessageEvent struct {
	Consumer, Group string
	Message         *Message
	Duration        time.Duration
	Err             error // also of a panic
	Done            int   // 1: it is done, after Err as well if that was a Skip; 0: not yet
}

// StartProcessBatchEvent: messages are about to be handed to ProcessBatch
// (start_process_batch).
type StartProcessBatchEvent struct {
	Consumer, Group string
	Messages        []*Message // of one partition, at least one
}

// ProcessBatchEvent: ProcessBatch returned (process_batch).
type ProcessBatchEvent struct {
	Consumer, Group string
	Messages        []*Message
	Duration        time.Duration
	Err             error // also of a panic
	Done            int   // how many of them are done, after Err as well: see FailedAt and Skip
}

// JoinGroupEvent: the worker has joined its group, or tried to (join_group).
type JoinGroupEvent struct {
	Consumer, Group string
	MemberID        string
	Generation      int32
	Duration        time.Duration
	Err             error
}

// LeaveGroupEvent: the worker has left its group, or tried to (leave_group).
type LeaveGroupEvent struct {
	Consumer, Group string
	Duration        time.Duration
	Err             error
}

// PollRetryEvent: consuming was interrupted by an error and is tried again
// (poll_retry).
type PollRetryEvent struct {
	Consumer, Group string
	Try             int // from 1
	Err             error
}

// PauseStatusEvent: a partition is paused because a message failed, or no longer
// is (pause_status).
type PauseStatusEvent struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	// Duration is how long it will be paused; 0: it goes on, PauseForever: until
	// it is resumed by hand.
	Duration time.Duration
}

// PartitionsAssignedEvent: the worker was given partitions (partitions_assigned).
type PartitionsAssignedEvent struct {
	Consumer, Group string
	Partitions      map[string][]int32
}

// PartitionsRevokedEvent: the worker has given partitions up (partitions_revoked).
type PartitionsRevokedEvent struct {
	Consumer, Group string
	Partitions      map[string][]int32
	Lost            bool // see Assignment.Lost
}

// RebalanceEvent: the group gave out its partitions anew (rebalance).
type RebalanceEvent struct {
	Consumer, Group string
	Generation      int32
}

// OffsetGapEvent: a partition goes on elsewhere than where the group had
// committed, since that offset is out of range: messages were deleted before they
// were processed, or the topic is another one of that name (offset_gap).
type OffsetGapEvent struct {
	Consumer, Group  string
	Topic            string
	Partition        int32
	Committed, Start int64
}

// CommitFailedEvent: an offset could not be committed; it is tried again
// (commit_failed).
type CommitFailedEvent struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Err             error
}

// DeadLetterEvent: a message is in the dead-letter topic, and done (dead_letter).
type DeadLetterEvent struct {
	Consumer, Group string
	Message         *Message
	DeadLetterTopic string
	Attempts        int
	Err             error // why
}

// PoisonedEvent: a message has killed its process too often; without a dead-letter
// topic its partition is paused (poisoned). Or the batch that begins at Offset cannot be
// decoded, which pauses its partition in any case; Deaths is 0 then.
type PoisonedEvent struct {
	Consumer, Group string
	Topic           string
	Partition       int32
	Offset          int64
	Deaths          int
	Reason          string // of the last death, or why it cannot be decoded
}

// ShutDownEvent: the worker has finished with everything (shut_down).
type ShutDownEvent struct {
	Consumer, Group string
}

func (StartMainLoopEvent) EventName() string       { return "start_main_loop" }
func (MainLoopEvent) EventName() string            { return "main_loop" }
func (StartProcessMessageEvent) EventName() string { return "start_process_message" }
func (ProcessMessageEvent) EventName() string      { return "process_message" }
func (StartProcessBatchEvent) EventName() string   { return "start_process_batch" }
func (ProcessBatchEvent) EventName() string        { return "process_batch" }
func (JoinGroupEvent) EventName() string           { return "join_group" }
func (LeaveGroupEvent) EventName() string          { return "leave_group" }
func (PollRetryEvent) EventName() string           { return "poll_retry" }
func (PauseStatusEvent) EventName() string         { return "pause_status" }
func (PartitionsAssignedEvent) EventName() string  { return "partitions_assigned" }
func (PartitionsRevokedEvent) EventName() string   { return "partitions_revoked" }
func (RebalanceEvent) EventName() string           { return "rebalance" }
func (OffsetGapEvent) EventName() string           { return "offset_gap" }
func (CommitFailedEvent) EventName() string        { return "commit_failed" }
func (DeadLetterEvent) EventName() string          { return "dead_letter" }
func (PoisonedEvent) EventName() string            { return "poisoned" }
func (ShutDownEvent) EventName() string            { return "shut_down" }
