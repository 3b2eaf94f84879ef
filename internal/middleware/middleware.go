// Package middleware puts middlewares around the calls of a consumer's instance.
package middleware

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"

	"github.com/racecar-go/racecar/racecar"
)

// Processor returns inner with middlewares around it, the first one outermost. It is for
// one call at a time.
func Processor(inner racecar.Processor, middlewares []func(racecar.Handler) racecar.Handler) (racecar.Processor, error) {
	c := &chain{}
	return processor{c}, c.build(middlewares, func(ctx context.Context, messages []*racecar.Message) error {
		if len(messages) != 1 || messages[0] != c.single {
			if c.wrong = differ([]*racecar.Message{c.single}, messages); c.wrong != nil {
				return c.wrong
			}
		}
		return inner.Process(ctx, messages[0])
	})
}

// BatchProcessor is Processor for batches.
func BatchProcessor(inner racecar.BatchProcessor, middlewares []func(racecar.Handler) racecar.Handler) (racecar.BatchProcessor, error) {
	c := &chain{}
	return batchProcessor{c}, c.build(middlewares, func(ctx context.Context, messages []*racecar.Message) error {
		if c.wrong = differ(c.batch, messages); c.wrong != nil {
			return c.wrong
		}
		return inner.ProcessBatch(ctx, messages)
	})
}

type processor struct{ *chain }

// Process implements racecar.Processor.
func (p processor) Process(ctx context.Context, m *racecar.Message) error {
	p.single, p.hand[0] = m, m
	return p.call(ctx, p.hand[:])
}

type batchProcessor struct{ *chain }

// ProcessBatch implements racecar.BatchProcessor.
func (p batchProcessor) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	p.batch = slices.Clone(messages) // a middleware may sort or clear its slice
	return p.call(ctx, messages)
}

// chain is the middlewares of an instance, and the messages of its call.
type chain struct {
	handle racecar.Handler
	single *racecar.Message
	hand   [1]*racecar.Message // single as it is handed on: a slice for each call would cost more than the rest
	batch  []*racecar.Message
	wrong  error // what a middleware did to them; nil: nothing
}

// build puts middlewares around innermost.
func (c *chain) build(middlewares []func(racecar.Handler) racecar.Handler, innermost racecar.Handler) error {
	c.handle = innermost
	for _, m := range slices.Backward(middlewares) {
		if c.handle = m(c.handle); c.handle == nil {
			return fmt.Errorf("the middleware %s returned a nil Handler", nameOf(m))
		}
	}
	return nil
}

// call calls the outermost middleware. A mistake of a middleware is the call's error even
// if the middleware has swallowed it: messages would be lost.
func (c *chain) call(ctx context.Context, messages []*racecar.Message) error {
	if c.wrong != nil {
		c.wrong = nil
	}
	err := c.handle(ctx, messages)
	if c.wrong != nil {
		return c.wrong
	}
	return err
}

// differ says where messages that were handed on differ from those that were given.
func differ(given, handed []*racecar.Message) error {
	if len(given) != len(handed) {
		return fmt.Errorf("a middleware has handed on %d messages of a call with %d: it must hand on the same ones, in the same order", len(handed), len(given))
	}
	for i, m := range given {
		if h := handed[i]; h != m && (h == nil || h.Topic != m.Topic || h.Partition != m.Partition || h.Offset != m.Offset) {
			return fmt.Errorf("a middleware has handed on %s as message %d of a call, in place of %s: it must hand on the same ones, in the same order", name(h), i, name(m))
		}
	}
	return nil
}

func name(m *racecar.Message) string {
	if m == nil {
		return "nil"
	}
	return fmt.Sprintf("%s/%d@%d", m.Topic, m.Partition, m.Offset)
}

// nameOf returns a middleware's name and line.
func nameOf(m func(racecar.Handler) racecar.Handler) string {
	pc := reflect.ValueOf(m).Pointer()
	f := runtime.FuncForPC(pc)
	file, line := f.FileLine(pc)
	return fmt.Sprintf("%s (%s:%d)", f.Name(), file, line)
}
