package racecar

import (
	"context"
	"fmt"
)

type setupFunc = func(ctx context.Context, rt Runtime) (teardown func(context.Context) error, err error)

// Setup adds a function that prepares a worker process for all of its instances: pools,
// clients, migrations. Call it from init. The functions run in the order of the calls, in
// worker processes alone, before the first constructor and before the worker joins its group.
// Several workers run them at the same time, and in a rolling restart while the worker that is
// being replaced still consumes. rt.Producer belongs to no instance: what it produces is part
// of no transaction.
//
// ctx ends a little before worker_boot_timeout (0: never), and when the worker is stopped. An
// error means what a constructor's does (see Register); a retry begins with the function that
// failed. After its last instance's Teardown the worker calls what the functions returned as
// teardown (nil: nothing), in reverse order and within shutdown_timeout. Its error is logged and
// reported to Config.OnError.
//
// A nil f is a mistake that the racecar command reports with file and line. After the start
// (from a constructor, for example) Setup does nothing but stop the worker permanently, with
// that line.
func Setup(f func(ctx context.Context, rt Runtime) (teardown func(context.Context) error, err error)) {
	at := caller(2)
	switch {
	case f == nil:
		program.AddMistake(fmt.Errorf("%s: Setup: the function is nil", at))
	case !program.AddSetup(f, at):
		refuseLate("Setup", at)
	}
}
