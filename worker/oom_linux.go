package worker

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// boundMemory keeps this process, and each that it starts, from taking more than
// twice worker_memory_limit beyond what it has: the runtime then ends it, with the
// stack of the call that asked for the memory. Being drained and replaced comes too
// late for one message that takes gigabytes, and the kernel may kill a neighbour. The
// limit counts writable private memory (RLIMIT_DATA).
func boundMemory(limit int64) error {
	if limit <= 0 {
		return nil
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var size, resident, shared, text, lib, data uint64
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared, &text, &lib, &data); err != nil {
		return fmt.Errorf("/proc/self/statm: %w", err)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &now); err != nil {
		return err
	}
	ceiling := data*uint64(unix.Getpagesize()) + 2*uint64(limit)
	if ceiling >= now.Cur {
		return nil // somebody has set a lower one
	}
	now.Cur = ceiling
	return unix.Setrlimit(unix.RLIMIT_DATA, &now)
}

const (
	// killPreference is how many thousandths of the memory at hand a worker counts
	// for more than it has when the kernel looks for a process to kill.
	killPreference = 100
	maxScore       = 1000 // OOM_SCORE_ADJ_MAX
)

// yieldToSupervisor has the kernel, when memory is short, take this process rather
// than the supervisor, which may be no smaller: a killed worker is replaced, but
// nobody replaces the supervisor. See oom_score_adj in proc(5); raising one's own
// takes no privilege.
func yieldToSupervisor(score string) error {
	b, err := os.ReadFile(score)
	if err != nil {
		return err
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", score, err)
	}
	return os.WriteFile(score, strconv.AppendInt(nil, int64(min(now+killPreference, maxScore)), 10), 0o600)
}
