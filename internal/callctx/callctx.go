// Package callctx carries what a worker ties to the ctx of a call of consumer
// code and package racecar reads back.
package callctx

import (
	"context"
	"log/slog"
	"sync/atomic"
)

type leavingKey struct{}

// WithLeaving returns ctx with the channel that racecar.Leaving returns.
func WithLeaving(ctx context.Context, leaving <-chan struct{}) context.Context {
	return context.WithValue(ctx, leavingKey{}, leaving)
}

// Leaving returns the channel put there by WithLeaving, nil without one.
func Leaving(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(leavingKey{}).(<-chan struct{})
	return c
}

type producerKey struct{}

// WithProducer returns ctx with what stands in for the default producer in calls that
// are given ctx: a test's.
func WithProducer(ctx context.Context, p any) context.Context {
	return context.WithValue(ctx, producerKey{}, p)
}

// Producer returns what WithProducer put there, nil without one.
func Producer(ctx context.Context) any { return ctx.Value(producerKey{}) }

// InTests is set by package racecartest: the default producer is opened for no ctx
// without a stand-in then, since it would write to whatever broker is at its default
// address.
var InTests atomic.Bool

// LoggerKey is the key of a LoggerSource in a ctx.
type LoggerKey struct{}

// LoggerSource makes the logger of racecar.Logger.
type LoggerSource interface {
	// LoggerFor returns the logger for ctx, which may hold a span.
	LoggerFor(ctx context.Context) *slog.Logger
}

// Logger returns the logger of the call, or else of the worker, that ctx belongs to; nil: of
// none.
func Logger(ctx context.Context) *slog.Logger {
	if s, ok := ctx.Value(LoggerKey{}).(LoggerSource); ok {
		return s.LoggerFor(ctx)
	}
	return nil
}
