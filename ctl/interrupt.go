package ctl

import (
	"context"
	"io"
)

// interruptible reads from an input until ctx ends, though nothing comes: a read of a
// pipe or a terminal cannot be broken off. The goroutine in it ends with the input, or
// with its next piece, or with the process.
type interruptible struct {
	ctx    context.Context
	pieces chan piece
	rest   piece
}

type piece struct {
	data []byte
	err  error
}

func newInterruptible(ctx context.Context, in io.Reader) *interruptible {
	r := &interruptible{ctx: ctx, pieces: make(chan piece, 1)}
	go func() {
		for {
			data := make([]byte, 256<<10)
			n, err := in.Read(data)
			select {
			case r.pieces <- piece{data[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return r
}

// Read returns the cause of ctx's end once it has ended.
func (r *interruptible) Read(p []byte) (int, error) {
	for len(r.rest.data) == 0 {
		if r.rest.err != nil {
			return 0, r.rest.err
		}
		select {
		case r.rest = <-r.pieces:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
	n := copy(p, r.rest.data)
	r.rest.data = r.rest.data[n:]
	return n, nil
}
