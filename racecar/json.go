package racecar

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// JSON makes a Processor of f, which is handed each message's value decoded into
// a T of its own (package encoding/json: unknown fields are ignored). Spec.Name
// must be set where it is registered as it is; a consumer with a Process of its own
// may call it from there.
//
// A value that is no JSON for a T does not reach f. By default it fails like
// anything else: it is retried, and dead-lettered after max_retries; see
// OnMalformed. A message without value (a tombstone) is malformed, too. What f
// returns is as if Process had returned it.
func JSON[T any](f func(ctx context.Context, m *Message, v T) error, options ...JSONOption) ProcessFunc {
	var settings jsonSettings
	for _, option := range options {
		option(&settings)
	}
	return func(ctx context.Context, m *Message) error {
		var v T
		if err := json.Unmarshal(m.Value, &v); err != nil {
			return settings.malformed(fmt.Errorf("malformed message: its value is no JSON for a %s: %w", reflect.TypeFor[T](), err))
		}
		return f(ctx, m, v)
	}
}

// JSONOption is an option of JSON.
type JSONOption func(*jsonSettings)

// OnMalformed says what becomes of a message whose value cannot be decoded: give it
// Skip or DeadLetter, or a function that makes anything else of the error, such as
// a RetryAfter. A nil error of that function counts as none: nothing is dropped
// without a word.
func OnMalformed(dispose func(error) error) JSONOption {
	return func(s *jsonSettings) { s.dispose = dispose }
}

type jsonSettings struct {
	dispose func(error) error // nil: a plain error
}

func (s *jsonSettings) malformed(err error) error {
	if s.dispose == nil {
		return err
	}
	if disposed := s.dispose(err); disposed != nil {
		return disposed
	}
	return err
}
