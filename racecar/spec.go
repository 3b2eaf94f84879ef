package racecar

import (
	"math"
	"time"
)

// Spec describes a consumer to Register. A field that is zero leaves its value to the
// configuration, so that one file can set it for all consumers; what a Spec sets overrides
// the file, and variables and flags override the Spec. The defaults named here apply when
// nothing else sets the value.
//
// A duration between 0 and 1 ms is refused at the start: a bare 30 means 30 ns to Go.
type Spec struct {
	// Name is the consumer's name on the command line. Any text is allowed, so that
	// `Billing::InvoiceConsumer` keeps the group of its Ruby class. Default: the name of the
	// consumer's type.
	Name string
	// Subscriptions are the topics to consume. At least one is required.
	Subscriptions []Subscription
	// GroupID is the consumer group. A variable or flag with another one is refused, since
	// the consumer would read its topics from their beginning in that group. Default:
	// group_id_prefix and Name in lower case with dashes, user-ban-consumer for
	// UserBanConsumer, as upstream.
	GroupID string
	// ParallelWorkers is how many worker processes the supervisor runs, each a separate
	// member of the group, from 1 to 1000. Default: 1 (upstream: parallel_workers).
	ParallelWorkers int
	// Concurrency is how many partitions one worker processes at the same time, each with
	// an instance of its own. Default: 1, a single instance for all partitions. With ByKey
	// and Unordered it is how many calls one worker makes at the same time; see Ordering.
	Concurrency int
	// Ordering says which messages are processed one after the other. A section for this
	// consumer, a variable or a flag with another order is refused, since the consumer relies
	// on it. Default: ByPartition.
	Ordering Ordering
	// FetchMessages is the most messages that one call of ProcessBatch receives.
	// Default: 1000 (upstream: fetch_messages).
	FetchMessages int
	// MaxWaitTime is how long a broker, and an incomplete batch, waits for messages.
	// Default: 1 s (upstream: max_wait_time).
	MaxWaitTime time.Duration
	// MaxPollInterval is the longest that one call of Process or ProcessBatch may take; then
	// its ctx is cancelled, and a worker that ignores that is replaced. Default: 5 minutes
	// (upstream: max_poll_interval).
	MaxPollInterval time.Duration
	// PauseTimeout is how long a partition pauses after a failed call before the message is
	// retried. NoPause: not at all. PauseForever, or -1 of any unit as in the file: until
	// `racecarctl resume`. Default: 10 s (upstream: pause_timeout).
	PauseTimeout time.Duration
	// MaxRetries is how often a failed message is retried before it goes to the dead-letter
	// topic. Default: 0, which retries for ever.
	MaxRetries int
	// DeadLetterTopic is the topic for messages whose retries are used up and for
	// DeadLetter. Default: the group's name and ".dlq" if MaxRetries is above 0, else none.
	DeadLetterTopic string
	// Transactional commits the output of calls and the offsets of their messages together
	// (KIP-447): readers with isolation level read_committed see the output of each message
	// exactly once. Process itself may be called again for a message and repeats whatever
	// else it does.
	Transactional bool
	// Use are the middlewares of this consumer, the first one outermost; those of the
	// function Use are around them. Default: none.
	Use []func(next Handler) Handler `json:"-"`
}

// Ordering says which messages of a partition a worker processes one after the other. Its
// zero value leaves that to the configuration (ordering: partition, key or none).
//
// With ByKey and Unordered a worker makes Spec.Concurrency calls at the same time, of
// whatever partitions, on as many instances. An instance is called by one goroutine at a
// time and needs no locks; nothing says which instance receives which key, and what
// instances share does need locks. OnPartitionsAssigned and OnPartitionsRevoked are called
// on each instance with all partitions of the worker's change, the former before the
// first message of those partitions, the latter after the last call for one. OnStatistics
// is called on one instance.
type Ordering int

const (
	_ Ordering = iota
	// ByPartition processes the messages of a partition one after the other. A failed
	// message delays all later messages of its partition.
	ByPartition
	// ByKey processes the messages of a partition that have the same key one after the
	// other, in the order of their offsets, across retries, pauses and rebalances. A failed
	// message delays the later messages of its key alone. Keys are equal if their bytes are;
	// an empty key is a key, and messages without a key have no order. Not for Transactional
	// consumers.
	ByKey
	// Unordered processes messages in any order. A failed message delays no other. Not for
	// Transactional consumers.
	Unordered
)

const (
	// NoPause as Spec.PauseTimeout retries a failed message at once, at most ten times a
	// second. It stands for 0, which leaves the value to the configuration.
	NoPause time.Duration = math.MinInt64
	// PauseForever as Spec.PauseTimeout pauses the partition of a failed message until
	// `racecarctl resume` or its next assignment.
	PauseForever = -1 * time.Second
)

// StartFrom says where a partition starts that has no committed offset when the group is
// new to its subscription. A topic or a partition that appears later starts at its
// beginning, whatever StartFrom says.
type StartFrom int

const (
	// Beginning is the oldest message, the default (upstream: start_from_beginning: true).
	Beginning StartFrom = iota
	// End is behind the newest message (upstream: start_from_beginning: false).
	End
)

// Subscription is one topic, or all topics that match a pattern.
type Subscription struct {
	// Exactly one of Topic and TopicPattern must be set. TopicPattern is a regular
	// expression (package regexp) that must match the whole name of a topic; topics that
	// appear later are included.
	Topic        string
	TopicPattern string
	StartFrom    StartFrom // default: Beginning
	// MaxBytesPerPartition is the most that one fetch returns per partition, in bytes; a
	// larger record batch is returned all the same. Default: 1 MiB (upstream:
	// max_bytes_per_partition).
	MaxBytesPerPartition int
	// AdditionalConfig has librdkafka's properties for this subscription (upstream:
	// additional_config). A property that cannot be honoured is refused at the start.
	AdditionalConfig map[string]string
}
