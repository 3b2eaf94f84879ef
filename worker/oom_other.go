//go:build !linux

package worker

// boundMemory does nothing: elsewhere the limit does not concern mapped memory.
func boundMemory(int64) error { return nil }

// yieldToSupervisor does nothing: elsewhere there is no such preference.
func yieldToSupervisor(string) error { return nil }
