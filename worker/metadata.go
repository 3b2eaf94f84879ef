package worker

import (
	"math"

	"github.com/racecar-go/racecar/internal/offsetmap"
)

// commitMetadata says how often the message at offset has failed, so that whoever gets
// the partition next goes on counting, and how many claims began there without ending
// gracefully (unfinished.go). Empty when there is nothing to say.
func commitMetadata(offset int64, attempts, starts int) string {
	m := offsetmap.Metadata{Offset: offset, LeaderEpoch: -1, Starts: starts}
	if attempts > 0 {
		m.Failing = []offsetmap.Failing{{Offset: offset, Attempts: attempts}}
	}
	return m.Encode(math.MaxInt)
}

// parseMetadata reads commit metadata; zeros for that of others, of another offset, and
// for what cannot be.
func parseMetadata(metadata string, offset int64) (attempts, starts int) {
	m, err := offsetmap.Decode(metadata)
	if err != nil || m.Offset != offset {
		return 0, 0
	}
	return m.Attempts(offset), m.Starts
}
