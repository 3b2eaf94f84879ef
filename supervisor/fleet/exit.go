// Package fleet is what the supervisor knows of its workers and decides about them. It
// makes no system call and has no clock.
// It is not covered by the compatibility promise.
package fleet

import (
	"fmt"
	"strings"
	"syscall"
)

// Exit is how a process ended.
type Exit struct {
	Code   int            // -1 when a signal ended it
	Signal syscall.Signal // 0 when it exited
}

func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}

// LastLines is the end of a text, at most size bytes, from the beginning of a line.
func LastLines(text string, size int) string {
	if len(text) <= size {
		return text
	}
	text = text[len(text)-size:]
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}
