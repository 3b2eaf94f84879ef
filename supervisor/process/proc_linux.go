package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
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

// OutOfMemoryKills reads the count of our memory cgroup, version 2 or 1.
func (e *Exec) OutOfMemoryKills() (uint64, bool) {
	file := oomFile("/proc/self/cgroup", "/sys/fs/cgroup")
	if file == "" {
		return 0, false
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// KilledTogether reports whether the kernel kills all processes of our memory cgroup
// when it runs out of memory, this one included (memory.oom.group, as Kubernetes has it
// since 1.28).
func KilledTogether() bool { return killedTogether("/proc/self/cgroup", "/sys/fs/cgroup") }

func killedTogether(cgroups, mount string) bool {
	file := oomFile(cgroups, mount)
	if filepath.Base(file) != "memory.events" {
		return false // version 1 has no such setting
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(file), "memory.oom.group"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// oomFile finds the file in which the kernel counts; empty: we cannot see one. In a
// container the path of the cgroup is often not mounted, and the root is the cgroup.
func oomFile(cgroups, mount string) string {
	b, err := os.ReadFile(cgroups)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var dir, name string
		switch {
		case f[0] == "0" && f[1] == "":
			dir, name = mount, "memory.events"
		case strings.Contains(","+f[1]+",", ",memory,"):
			dir, name = filepath.Join(mount, "memory"), "memory.oom_control"
		default:
			continue
		}
		for _, path := range []string{filepath.Join(dir, f[2], name), filepath.Join(dir, name)} {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return ""
}
