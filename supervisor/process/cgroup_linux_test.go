package process

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFileOfOutOfMemoryKills(t *testing.T) {
	for name, c := range map[string]struct{ cgroups, file string }{
		"version 2":             {"0::/app\n", "app/memory.events"},
		"version 2, a root":     {"0::/../x\n", "memory.events"},
		"version 1":             {"5:cpu,cpuacct:/\n4:memory:/app\n0::/\n", "memory/app/memory.oom_control"},
		"version 1, not seen":   {"4:memory:/elsewhere\n", "memory/memory.oom_control"},
		"nothing of the kind":   {"5:cpu:/\n", ""},
		"both, version 1 rules": {"4:memory:/app\n0::/\n", "memory/app/memory.oom_control"},
	} {
		dir := t.TempDir()
		cgroups := filepath.Join(dir, "cgroup")
		if err := os.WriteFile(cgroups, []byte(c.cgroups), 0o600); err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.file != "" {
			want = filepath.Join(dir, c.file)
			if err := os.MkdirAll(filepath.Dir(want), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(want, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := oomFile(cgroups, dir); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestKilledTogether(t *testing.T) {
	for name, c := range map[string]struct {
		cgroups, dir string
		group        string // content of memory.oom.group; empty: no such file
		want         bool
	}{
		"together":           {"0::/app\n", "app", "1\n", true},
		"together in a root": {"0::/\n", "", "1\n", true},
		"one by one":         {"0::/app\n", "app", "0\n", false},
		"not said":           {"0::/app\n", "app", "", false},
		"nowhere":            {"5:cpu:/\n", "app", "1\n", false},
	} {
		mount := t.TempDir()
		cgroups := filepath.Join(t.TempDir(), "cgroup")
		dir := filepath.Join(mount, c.dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{cgroups: c.cgroups, filepath.Join(dir, "memory.events"): "oom_kill 0\n"}
		if c.group != "" {
			files[filepath.Join(dir, "memory.oom.group")] = c.group
		}
		for path, content := range files {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := killedTogether(cgroups, mount); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type oomCounter struct {
	Spawner
	n uint64
}

func (c *oomCounter) OutOfMemoryKills() (uint64, bool) { return c.n, true }

// Each kill explains one death, and no death before the last update.
func TestOutOfMemoryKillExplainsOneDeath(t *testing.T) {
	c := &oomCounter{n: 3}
	var w OOMWatch
	if w.Claim(c) {
		t.Error("before the first look")
	}
	w.Update(c)
	if w.Claim(c) {
		t.Error("nothing happened")
	}
	c.n = 4
	if !w.Claim(c) || w.Claim(c) {
		t.Error("one kill, one death")
	}
	c.n = 5
	w.Update(c)
	if !w.Claim(c) || w.Claim(c) {
		t.Error("the loop had not heard of it yet")
	}
	c.n = 6
	w.Update(c)
	w.Update(c)
	if w.Claim(c) {
		t.Error("that one was of something else")
	}
}
