package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"
)

// Profile profiles this process if BENCH_PROFILE names a directory, until the function that it
// returns is called: CPU, allocations, waiting for locks, and waiting for anything.
func Profile(name string) (stop func() error, err error) {
	dir := os.Getenv("BENCH_PROFILE")
	if dir == "" {
		return func() error { return nil }, nil
	}
	path := func(kind string) string {
		return filepath.Join(dir, fmt.Sprintf("%s-%d.%s.prof", name, os.Getpid(), kind))
	}
	f, err := os.Create(path("cpu"))
	if err != nil {
		return nil, err
	}
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(10 * time.Microsecond))
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		errs := []error{f.Close()}
		for _, kind := range []string{"allocs", "mutex", "block"} {
			f, err := os.Create(path(kind))
			if err == nil {
				err = errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close())
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}, nil
}
