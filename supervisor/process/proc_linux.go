package process

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
)

// procStat is what we need of /proc/PID/stat.
type procStat struct {
	state    byte
	ppid     int
	started  uint64 // ticks after boot: with the pid it names a process
	rssPages int64
}

// parseStat reads /proc/PID/stat. The second field, a name in parentheses, may
// itself have spaces and parentheses.
func parseStat(b []byte) (procStat, error) {
	_, rest, ok := bytes.Cut(b, []byte(" ("))
	end := bytes.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return procStat{}, errors.New("not as expected")
	}
	f := strings.Fields(string(rest[end+1:]))
	if len(f) < 22 {
		return procStat{}, errors.New("too few fields")
	}
	ppid, err1 := strconv.Atoi(f[1])
	started, err2 := strconv.ParseUint(f[19], 10, 64)
	rss, err3 := strconv.ParseInt(f[21], 10, 64)
	return procStat{state: f[0][0], ppid: ppid, started: started, rssPages: rss}, errors.Join(err1, err2, err3)
}

// OwnRSS is the resident memory of this process in bytes, 0 when not known.
func OwnRSS() int64 {
	u, err := usage(os.Getpid())
	if err != nil {
		return 0
	}
	return u.RSS
}
