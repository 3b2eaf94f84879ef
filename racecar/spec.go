package racecar

import (
	"math"
	"time"
)

// Spec describes a consumer. Zero values mean "as configured", so that one file
// can set a value for all consumers.
type Spec struct {
	// Name is what the command line calls the consumer. Default: the name of
	// its type. Any string, so that `Billing::InvoiceConsumer` keeps its group.
	Name          string
	Subscriptions []Subscription
	// GroupID is the consumer group; default: derived from Name (config.GroupIDFor).
	// A different one from flag or environment is refused, since the group's
	// offsets would not be found.
	GroupID         string
	ParallelWorkers int
	// Concurrency is how many partitions a worker handles at once, each with an
	// instance of its own.
	Concurrency     int
	FetchMessages   int
	MaxWaitTime     time.Duration
	MaxPollInterval time.Duration
	// PauseTimeout is how long a partition pauses after a failed call. 0: as
	// configured; NoPause: not at all; PauseForever, and -1 of any unit as in the file:
	// until `racecarctl resume`. Durations of a Spec are at least 1 ms: a bare 30 means
	// 30 ns to Go and is refused.
	PauseTimeout time.Duration
	// MaxRetries: 0 as configured (and the configured 0 is for ever).
	MaxRetries      int
	DeadLetterTopic string
	// Transactional has what calls produce and the offsets of their messages
	// committed together: readers with isolation level read_committed see the
	// output of each message exactly once (KIP-447). Process itself may be called
	// again for a message, and what else it does is then done again.
	Transactional bool
}

const (
	// NoPause as Spec.PauseTimeout retries a failed message without pausing.
	NoPause time.Duration = math.MinInt64
	// PauseForever pauses a failing partition until it is resumed by hand.
	PauseForever = -1 * time.Second
)

// StartFrom is where a partition starts that has no committed offset when the group is
// new to its subscription. A topic or a partition that appears later starts at its
// beginning.
type StartFrom int

const (
	// Beginning is the oldest message (upstream: start_from_beginning: true).
	Beginning StartFrom = iota
	// End is after the newest message.
	End
)

// Subscription is one topic, or all topics that match a pattern.
type Subscription struct {
	// Topic or TopicPattern, not both. A pattern is a regular expression
	// (package regexp) that the whole topic name must match.
	Topic        string
	TopicPattern string
	StartFrom    StartFrom
	// MaxBytesPerPartition is the most a fetch returns per partition, in bytes.
	// Default 1 MiB (upstream: max_bytes_per_partition).
	MaxBytesPerPartition int
	// AdditionalConfig takes librdkafka's property names; what cannot be
	// honoured is refused at start.
	AdditionalConfig map[string]string
}
