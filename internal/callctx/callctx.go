// Package callctx carries what a worker ties to the ctx of a call of consumer
// code and package racecar reads back.
package callctx

import "context"

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
