package worker

import (
	"strconv"
	"strings"
)

// metadataPrefix marks commit metadata as ours, in its first version.
const metadataPrefix = "racecar:1;"

// commitMetadata says how often the message at offset has failed, so that whoever gets
// the partition next goes on counting, and how many claims began there without ending
// gracefully (unfinished.go). Empty when there is nothing to say.
func commitMetadata(offset int64, attempts, starts int) string {
	if attempts == 0 && starts == 0 {
		return ""
	}
	text := metadataPrefix + strconv.FormatInt(offset, 10) + ";" + strconv.Itoa(attempts)
	if starts > 0 {
		text += ";" + strconv.Itoa(starts)
	}
	return text
}

// parseMetadata reads commit metadata; zeros for that of others, of another offset, and
// for what cannot be.
func parseMetadata(metadata string, offset int64) (attempts, starts int) {
	rest, ours := strings.CutPrefix(metadata, metadataPrefix)
	fields := strings.Split(rest, ";")
	if !ours || len(fields) < 2 || len(fields) > 3 || fields[0] != strconv.FormatInt(offset, 10) {
		return 0, 0
	}
	counts := [2]int{}
	for i, field := range fields[1:] {
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 {
			return 0, 0
		}
		counts[i] = n
	}
	return counts[0], counts[1]
}
