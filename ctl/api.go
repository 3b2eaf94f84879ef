package ctl

import (
	"context"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
)

// APIVersion is the number in the paths (/v1/…) and in each answer's
// Racecar-Version header. Adding commands and fields keeps it.
const APIVersion = 1

// Supervisor is what the control socket asks of a running supervisor. An empty
// consumer means all of them. Methods may be called concurrently; ctx bounds
// only the answer: an operation that has begun goes on when nobody listens any
// more. Errors are one line for a person.
type Supervisor interface {
	// Status answers with what is known when ctx ends: a worker that does not
	// report in time has a nil Report.
	Status(ctx context.Context) (status.Status, error)
	Config(ctx context.Context) ([]ConsumerConfig, error)
	// Settings returns what a command needs to act for a consumer at the brokers.
	// It holds the secrets: the control socket alone serves it.
	Settings(ctx context.Context, consumer string) (Settings, error)

	// Stop, Restart and Scale return when it is done; progress is called in
	// order, from one goroutine at a time, never after the return.
	Stop(ctx context.Context, o StopOptions, progress func(Progress)) error
	Restart(ctx context.Context, o RestartOptions, progress func(Progress)) error
	Scale(ctx context.Context, consumer string, workers int, progress func(Progress)) error

	// Pause and Resume act on a partition, -1 on all of the topic's.
	Pause(ctx context.Context, consumer, topic string, partition int32) error
	Resume(ctx context.Context, consumer, topic string, partition int32) error
	// SkipBatch resumes a partition behind the batch that it could not decode.
	SkipBatch(ctx context.Context, consumer, topic string, partition int32) error
	Quiet(ctx context.Context, consumer string) error
	Continue(ctx context.Context, consumer string) error

	SetLogLevel(ctx context.Context, level string) error
	// Dump writes goroutine stacks of supervisor and workers to the log.
	Dump(ctx context.Context) error
}

// RestartOptions say what to restart.
type RestartOptions struct {
	Consumer string `json:"consumer,omitempty"`  // empty: all
	NewGroup bool   `json:"new_group,omitempty"` // also when a consumer's group_id has changed
}

// StopOptions say how to stop.
type StopOptions struct {
	// Timeout replaces shutdown_timeout; 0 keeps it.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Force kills what is left at once, as a second TERM does.
	Force bool `json:"force,omitempty"`
	// Leave removes the members from their groups also where membership is host.
	Leave bool `json:"leave,omitempty"`
}

// Progress is one step of a longer operation.
type Progress struct {
	// Worker is the worker's name, `UserBanConsumer[2]`; empty: the whole.
	Worker string       `json:"worker,omitempty"`
	State  status.State `json:"state,omitempty"`
	// Message is for a person, e.g. "finishing greetings/3 at offset 17".
	Message string `json:"message,omitempty"`
	// Done of Total steps; Total 0: unknown.
	Done  int `json:"done,omitempty"`
	Total int `json:"total,omitempty"`
}

// ConsumerConfig is the effective configuration of a consumer, passwords and
// keys hidden, in the order of the reference page.
type ConsumerConfig struct {
	Consumer string           `json:"consumer"`
	Keys     []config.Setting `json:"keys"`
}

// Settings are a consumer's group, topics and whole configuration, as they are in
// effect in a running supervisor. Paths in it are absolute.
type Settings struct {
	Consumer string             `json:"consumer"`
	Topics   []string           `json:"topics,omitempty"`   // subscribed to by name
	Patterns []string           `json:"patterns,omitempty"` // subscribed to by pattern
	Config   config.WithSecrets `json:"config"`
}

// The requests' bodies. A field that the server does not know is refused, so
// that an older supervisor does not silently do half of what was asked.
type (
	targetRequest struct {
		Consumer string `json:"consumer,omitempty"`
	}
	scaleRequest struct {
		Consumer string `json:"consumer,omitempty"`
		Workers  *int   `json:"workers"` // required: 0 stops them all
	}
	partitionRequest struct {
		Consumer string `json:"consumer,omitempty"`
		Topic    string `json:"topic"`
		// Partition: absent is the whole topic.
		Partition *int32 `json:"partition,omitempty"`
		// SkipBatch is for resume, of one partition.
		SkipBatch bool `json:"skip_batch,omitempty"`
	}
	levelRequest struct {
		Level string `json:"level"`
	}
)

// answer is the body of everything that is not a status or a configuration. A
// longer operation answers with one Progress a line and an answer with End set
// as the last one.
type answer struct {
	End   bool   `json:"end,omitempty"`
	Error string `json:"error,omitempty"`
}

// line is what a line of a longer operation's answer is read as.
type line struct {
	Progress
	answer
}

// wholeTopic as a partition is all of the topic's.
const wholeTopic = -1
