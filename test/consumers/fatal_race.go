//go:build race

package consumers

import "sync"

// runtimeFatal is one of those that the race detector has nothing to say about.
func runtimeFatal() {
	var mu sync.Mutex
	mu.Unlock() //nolint:staticcheck // fatal error: sync: unlock of unlocked mutex
}
