//go:build !linux

package runner

import (
	"errors"

	"golang.org/x/sys/unix"
)

// limitFDs is there on Linux only: elsewhere the limits of another process cannot be set.
func (p *product) limitFDs(*unix.Rlimit) (*unix.Rlimit, error) {
	return nil, errors.New("fd limit: only on Linux")
}
