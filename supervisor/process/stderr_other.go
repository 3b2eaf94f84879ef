//go:build !linux

package process

import "os"

func stderrFile() (*os.File, error) { return temporaryStderr() }

// punch is for Linux.
func punch(*os.File, int64) {}
