//go:build !linux

package scoreboard

import "os"

func anonymousFile() (*os.File, error) { return temporaryFile() }
