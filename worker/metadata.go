package worker

import (
	"strconv"
	"strings"
)

// metadataPrefix marks commit metadata as ours, in its first version.
const metadataPrefix = "racecar:1;"

// attemptsMetadata is the commit metadata that says how often the message at
// offset has failed, so that whoever gets the partition next goes on counting.
func attemptsMetadata(offset int64, attempts int) string {
	return metadataPrefix + strconv.FormatInt(offset, 10) + ";" + strconv.Itoa(attempts)
}

// parseAttempts reads commit metadata; 0 for that of others, of another offset,
// and for what cannot be.
func parseAttempts(metadata string, offset int64) int {
	rest, ours := strings.CutPrefix(metadata, metadataPrefix)
	at, count, ok := strings.Cut(rest, ";")
	if !ours || !ok || at != strconv.FormatInt(offset, 10) {
		return 0
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
