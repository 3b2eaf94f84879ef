package racecar

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/callctx"
)

// Config is the effective configuration of a consumer; docs/configuration.md describes its
// keys. A consumer must not change it.
type Config = config.Config

// ErrorInfo describes the call, or the message, that an error given to Config.OnError is
// about.
type ErrorInfo = config.ErrorInfo

// OAuthToken is the result of Config.OAuthToken.
type OAuthToken = config.OAuthToken

// Reviewed describes a consumer to Config.Review.
type Reviewed = config.Reviewed

// Runtime is what a consumer's constructor receives.
type Runtime struct {
	// Producer belongs to the instance that is constructed.
	Producer Producer
	// Logger writes to the worker's log, with the consumer and the worker as fields.
	Logger *slog.Logger
	Worker Worker
	Config *Config
}

// Worker identifies the worker process that an instance is in.
type Worker struct {
	Consumer string // the name that the consumer is registered under
	Index    int    // from 0 to parallel_workers-1; a replacement has its predecessor's
	Group    string // the consumer group
}

// Leaving returns a channel that is closed as soon as the partition of the call that ctx
// belongs to is revoked, or the worker is stopped. A long call may then go on to its end, or
// return an error early, which counts as no failure: the message is handed over again (from
// ProcessBatch, FailedAt says how many messages are done). For a ctx that belongs to no call
// the channel is nil, which is never ready.
func Leaving(ctx context.Context) <-chan struct{} { return callctx.Leaving(ctx) }

// Logger returns the worker's logger with fields for the call that ctx belongs to: consumer,
// topic, partition, offset, key (at most 64 bytes, in hex if it is no text), attempt (from 1)
// and, with a tracer that says them, trace_id and span_id. For a batch, offset and last_offset
// are those of its first and last message, and there is no key. The fields are those of that
// call for as long as the logger, or ctx, is used. A call of Logger costs about a microsecond.
//
// For a ctx of a hook it is the worker's logger, and for one that belongs to no worker it is
// slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	if l := callctx.Logger(ctx); l != nil {
		return l
	}
	return slog.Default()
}
