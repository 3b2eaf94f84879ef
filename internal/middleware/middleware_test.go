package middleware

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

type middleware = func(racecar.Handler) racecar.Handler

// messages returns n messages of a partition.
func messages(n int) []*racecar.Message {
	var all []*racecar.Message
	for i := range n {
		all = append(all, &racecar.Message{Topic: "t", Offset: int64(i)})
	}
	return all
}

func TestFirstIsOutermost(t *testing.T) {
	var diary []string
	note := func(name string) middleware {
		return func(next racecar.Handler) racecar.Handler {
			return func(ctx context.Context, ms []*racecar.Message) error {
				diary = append(diary, name)
				defer func() { diary = append(diary, name) }()
				return next(ctx, ms)
			}
		}
	}
	cause := errors.New("cause")
	p, err := Processor(racecar.ProcessFunc(func(context.Context, *racecar.Message) error {
		diary = append(diary, "process")
		return cause
	}), []middleware{note("a"), note("b")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		diary = nil
		if err := p.Process(t.Context(), messages(1)[0]); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
		if want := []string{"a", "b", "process", "b", "a"}; !slices.Equal(diary, want) {
			t.Errorf("order %v, want %v", diary, want)
		}
	}
}

// A middleware that hands on other messages than it was given fails the call, even if it
// swallows the error: they would count as done.
func TestMiddlewareMayNotChangeWhichMessages(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func([]*racecar.Message) []*racecar.Message
		message string // in the error; empty: allowed
	}{
		"unchanged":  {func(ms []*racecar.Message) []*racecar.Message { return ms }, ""},
		"copies":     {func(ms []*racecar.Message) []*racecar.Message { return copies(ms) }, ""},
		"left out":   {func(ms []*racecar.Message) []*racecar.Message { return ms[:2] }, "2 messages of a call with 3"},
		"none":       {func([]*racecar.Message) []*racecar.Message { return nil }, "0 messages of a call with 3"},
		"added":      {func(ms []*racecar.Message) []*racecar.Message { return append(ms, ms[0]) }, "4 messages of a call with 3"},
		"exchanged":  {func(ms []*racecar.Message) []*racecar.Message { ms[1] = &racecar.Message{Topic: "u"}; return ms }, "u/0@0 as message 1 of a call, in place of t/0@1"},
		"nil":        {func(ms []*racecar.Message) []*racecar.Message { ms[2] = nil; return ms }, "nil as message 2"},
		"in reverse": {func(ms []*racecar.Message) []*racecar.Message { slices.Reverse(ms); return ms }, "t/0@2 as message 0"},
	} {
		t.Run(name, func(t *testing.T) {
			called := 0
			c, err := BatchProcessor(racecar.ProcessBatchFunc(func(context.Context, []*racecar.Message) error {
				called++
				return nil
			}), []middleware{func(next racecar.Handler) racecar.Handler {
				return func(ctx context.Context, ms []*racecar.Message) error {
					_ = next(ctx, tc.change(ms)) // swallowed
					return nil
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			err = c.ProcessBatch(t.Context(), messages(3))
			if tc.message == "" {
				if err != nil || called != 1 {
					t.Errorf("called %d times, error %v", called, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.message) || called != 0 {
				t.Errorf("called %d times, error %v, want one with %q", called, err, tc.message)
			}
		})
	}
}

func copies(ms []*racecar.Message) []*racecar.Message {
	var all []*racecar.Message
	for _, m := range ms {
		own := *m
		all = append(all, &own)
	}
	return all
}

// The same for a consumer of single messages, whose next call is all right again.
func TestMiddlewareMayNotChangeTheMessage(t *testing.T) {
	wrong := true
	var got []int64
	c, err := Processor(racecar.ProcessFunc(func(_ context.Context, m *racecar.Message) error {
		got = append(got, m.Offset)
		return nil
	}), []middleware{func(next racecar.Handler) racecar.Handler {
		return func(ctx context.Context, ms []*racecar.Message) error {
			if wrong {
				return next(ctx, messages(2)[1:])
			}
			return next(ctx, copies(ms))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := messages(1)[0]
	if err := c.Process(t.Context(), m); err == nil || !strings.Contains(err.Error(), "t/0@1 as message 0 of a call, in place of t/0@0") {
		t.Errorf("error %v", err)
	}
	wrong = false
	if err := c.Process(t.Context(), m); err != nil || !slices.Equal(got, []int64{0}) {
		t.Errorf("processed %v, error %v", got, err)
	}
}

func TestMiddlewareMayAnswer(t *testing.T) {
	c, err := Processor(racecar.ProcessFunc(func(context.Context, *racecar.Message) error {
		t.Error("called")
		return nil
	}), []middleware{func(racecar.Handler) racecar.Handler {
		return func(context.Context, []*racecar.Message) error { return nil }
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Process(t.Context(), messages(1)[0]); err != nil {
		t.Error(err)
	}
}

func noHandler(racecar.Handler) racecar.Handler { return nil }

func TestMiddlewareReturnsAHandler(t *testing.T) {
	_, err := BatchProcessor(racecar.ProcessBatchFunc(nil), []middleware{noHandler})
	if err == nil || !strings.Contains(err.Error(), "middleware.noHandler (") || !strings.Contains(err.Error(), "middleware_test.go:") {
		t.Errorf("error %v, want the middleware's name and line", err)
	}
}
