package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OutOfMemoryKills reads the count of our memory cgroup, version 2 or 1.
func (e *OSSpawner) OutOfMemoryKills() (uint64, bool) {
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
