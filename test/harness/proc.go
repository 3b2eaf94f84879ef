package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Proc is a running process as /proc shows it.
type Proc struct {
	Pid, Parent int
	// State is the kernel's code: R running, S sleeping, T stopped, Z dead and
	// not reaped yet.
	State string
	// Args is the command line, with argv[0] as the process may have set it.
	Args []string
}

func (p Proc) String() string {
	return fmt.Sprintf("%d (parent %d, %s) %s", p.Pid, p.Parent, p.State, strings.Join(p.Args, " "))
}

// Processes returns every process that descends from the command, itself
// included, those that left its tree included, zombies excepted, oldest pid first.
func (p *Process) Processes() []Proc {
	p.t.Helper()
	procs, err := withToken(p.token)
	if err != nil {
		p.t.Fatal(err)
	}
	return procs
}

// Children returns those of Processes whose parent is pid.
func (p *Process) Children(pid int) []Proc {
	p.t.Helper()
	return slices.DeleteFunc(p.Processes(), func(o Proc) bool { return o.Parent != pid })
}

// FDs returns what the process has open, as "number target", sorted by number.
// Compared before and after, it shows descriptors that leak.
func FDs(pid int) ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var fds []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile; of our own process, the one ReadDir used
		}
		if err != nil {
			return nil, err
		}
		fds = append(fds, e.Name()+" "+target)
	}
	slices.SortFunc(fds, func(a, b string) int {
		var m, n int
		fmt.Sscan(a, &m) //nolint:errcheck // the kernel writes numbers
		fmt.Sscan(b, &n) //nolint:errcheck // the kernel writes numbers
		return m - n
	})
	return fds, nil
}

// PSS returns the memory of pid in bytes, pages shared with others counted in
// part, so that the sum over a tree is what the tree uses.
func PSS(pid int) (int64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(rollup)) {
		if rest, ok := strings.CutPrefix(l, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no Pss in /proc/%d/smaps_rollup", pid)
}

// CPU returns the processor time pid has used so far, to 10 ms.
func CPU(pid int) (time.Duration, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	// /proc counts in hundredths of a second whatever the kernel's own tick is.
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// withToken returns all live processes whose environment at their start named
// token.
func withToken(token string) ([]Proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	want := []byte(tokenVar + "=" + token)
	var procs []Proc
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// Other users' processes, and those that end meanwhile, are not ours.
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) }) {
			continue
		}
		p, err := readProc(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.State != "Z" && p.State != "X" {
			procs = append(procs, p)
		}
	}
	slices.SortFunc(procs, func(a, b Proc) int { return a.Pid - b.Pid })
	return procs, nil
}

func readProc(pid int) (Proc, error) {
	fields, err := statFields(pid)
	if err != nil {
		return Proc{}, err
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Proc{}, err
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return Proc{}, err
	}
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	return Proc{Pid: pid, Parent: parent, State: fields[0], Args: args}, nil
}

// statFields returns the fields of /proc/pid/stat from the state on. The name
// before may hold spaces and parentheses, so they are counted from its last one.
func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	return fields, nil
}
