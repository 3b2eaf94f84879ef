package worker

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/kafka/producer"
)

// usableError returns err, which consumer code has returned, if it can be used without
// danger, and otherwise an error of our own that says why not. Nothing else touches an
// error of consumer code before that: its methods are consumer code as well, and may
// panic.
func usableError(err error) (usable error) {
	defer func() {
		if r := recover(); r != nil {
			usable = &panicError{value: fmt.Sprintf("using the returned error, a %T: %v", err, r), stack: string(debug.Stack())}
		}
	}()
	switch v := reflect.ValueOf(err); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		if v.IsNil() {
			return fmt.Errorf("the returned error is a nil %T, which is not a nil error: return nil itself", err)
		}
	}
	if !verdict.Finite(err) {
		return fmt.Errorf("the returned error, a %T, unwraps to itself", err)
	}
	// The methods that are called later.
	_, _ = err.Error(), isAttempt(err)
	_, _ = errors.AsType[*panicError](err)
	_, _ = errors.AsType[*producer.DeliveryError](err)
	return err
}

// newPanicError returns the error of a call that ended without returning.
func newPanicError(reason any) error {
	if reason == nil {
		reason = errGoexit
	}
	if err, ok := reason.(error); ok {
		reason = usableError(err)
	}
	return &panicError{value: reason, stack: string(debug.Stack())}
}

// errGoexit stands in for a call that ended its goroutine.
var errGoexit = errors.New("consumer code called runtime.Goexit")

// panicError is a panic of consumer code.
type panicError struct {
	value any // an error only if it is usable
	stack string
}

func (e *panicError) Error() string {
	if e.value == any(errGoexit) { //nolint:errorlint // itself, not one that wraps it
		return errGoexit.Error()
	}
	return fmt.Sprintf("panic: %v", e.value)
}

// Unwrap lets errors.As find an error that was panicked with.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// recovered turns a panic of f, or the end of its goroutine, into an error.
func recovered(f func() error) (err error) {
	locks.None()
	done := make(chan struct{})
	go func() { // of its own, so that runtime.Goexit ends nothing of ours
		defer close(done)
		returned := false
		defer func() {
			if !returned {
				err = newPanicError(recover())
			}
		}()
		if err = f(); err != nil {
			err = usableError(err)
		}
		returned = true
	}()
	<-done
	return err
}
