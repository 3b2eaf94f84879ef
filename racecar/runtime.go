package racecar

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/callctx"
)

// Config is the effective configuration of a consumer; see package config for
// the keys. A consumer must not change it.
type Config = config.Config

// ErrorInfo says what an error handed to Config.OnError was about.
type ErrorInfo = config.ErrorInfo

// OAuthToken is what Config.OAuthToken returns.
type OAuthToken = config.OAuthToken

// Reviewed is what Config.Review is told of a consumer.
type Reviewed = config.Reviewed

// Runtime is what a consumer's constructor is given.
type Runtime struct {
	// Producer belongs to this instance: what is produced during a call belongs
	// to that call's message.
	Producer Producer
	// Logger writes to the worker's log with the consumer and worker as fields.
	Logger *slog.Logger
	Worker Worker
	Config *Config
}

// Worker says which worker an instance lives in.
type Worker struct {
	Consumer string // the name it was registered under
	Index    int    // 0 .. parallel_workers-1
	Group    string
}

// Leaving returns a channel that is closed as soon as the partition of the call
// that ctx belongs to, or the whole worker, is to go: a long call may then
// finish early and return an error, which is no failure (of a batch, FailedAt says how
// far it has come), or go on to its end. It is nil (never ready) for a ctx that belongs
// to no call.
func Leaving(ctx context.Context) <-chan struct{} { return callctx.Leaving(ctx) }
