package runner

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// limitFDs lets the supervisor open nothing more, or as much as before.
func (p *product) limitFDs(old *unix.Rlimit) (*unix.Rlimit, error) {
	var was unix.Rlimit
	limit := old
	if limit == nil {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid()))
		if err != nil {
			return nil, nil //nolint:nilerr // it is gone: another fault's doing
		}
		if err := unix.Prlimit(p.pid(), unix.RLIMIT_NOFILE, nil, &was); err != nil {
			return nil, fmt.Errorf("fd limit: %w", err)
		}
		limit = &unix.Rlimit{Cur: uint64(len(entries)), Max: was.Max}
	}
	if err := unix.Prlimit(p.pid(), unix.RLIMIT_NOFILE, limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("fd limit: %w", err)
	}
	return &was, nil
}
