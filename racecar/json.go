package racecar

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// JSON returns a Processor that decodes each message's value into a new T (package
// encoding/json, so unknown fields are ignored) and calls f with it. What f returns is the
// call's result. Register it with a Spec.Name, or call it from a consumer's own Process.
//
// A message whose value is not JSON for a T does not reach f, and neither does one without
// a value (a tombstone). It fails like any other: it is retried, and dead-lettered after
// max_retries. OnMalformed changes that.
func JSON[T any](f func(ctx context.Context, m *Message, v T) error, options ...JSONOption) ProcessFunc {
	var settings jsonSettings
	for _, option := range options {
		option(&settings)
	}
	return func(ctx context.Context, m *Message) error {
		var v T
		if err := json.Unmarshal(m.Value, &v); err != nil {
			return settings.malformed(fmt.Errorf("malformed message: its value is not JSON for a %s: %w", reflect.TypeFor[T](), err))
		}
		return f(ctx, m, v)
	}
}

// JSONOption is an option of JSON.
type JSONOption func(*jsonSettings)

// OnMalformed has dispose decide about messages whose value cannot be decoded: it receives
// the error and returns the call's result. Pass Skip or DeadLetter, or a function of your
// own. If dispose returns nil, the error stands, so that no message is dropped silently.
func OnMalformed(dispose func(error) error) JSONOption {
	return func(s *jsonSettings) { s.dispose = dispose }
}

type jsonSettings struct {
	dispose func(error) error // nil: the error stands
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
