package racecar

import (
	"context"
	"fmt"
	"log/slog"
)

// Handler handles the messages of one call: one message for a Processor, a batch for a
// BatchProcessor. Its ctx and its error mean what they mean there.
type Handler func(ctx context.Context, messages []*Message) error

// Use puts middlewares around the calls of all consumers: what each returns is called in
// place of next, and calls next. The first one is outermost; those of Spec.Use are inside.
// Call it from init. Each middleware is called once for each instance of a consumer, so what
// it keeps outside of the Handler that it returns belongs to one instance, of which one call
// runs at a time.
//
// A Handler runs inside of all that a worker does about a call: the error or panic of a
// middleware is the call's, and a tracer's span is around it. It may answer without calling
// next: after nil the messages are done. It may hand on messages that it has changed, or
// copies, but the same ones in the same order: messages left out, added or exchanged fail the
// call, whatever the middleware returns. It must not return before next has returned, and
// must not keep the slice.
//
// A nil middleware is a mistake that the racecar command reports with file and line. After
// the start (from a constructor, for example) Use does nothing but stop the worker
// permanently, with that line.
func Use(middlewares ...func(next Handler) Handler) {
	at := caller(2)
	for i, m := range middlewares {
		if m == nil {
			program.AddMistake(fmt.Errorf("%s: Use: argument %d of %d is nil", at, i+1, len(middlewares)))
			return
		}
	}
	if !program.AddMiddlewares(middlewares...) {
		refuseLate("Use", at)
	}
}

// refuseLate keeps and logs that a function was called after the start. The worker ends
// with it if a constructor was it that called the function.
func refuseLate(function, at string) {
	program.AddMistake(fmt.Errorf("%s: %s is called after the start: call it from init", at, function))
	slog.Error("a function of package racecar is called after the start, and does nothing: call it from init", "function", function, "at", at)
}
