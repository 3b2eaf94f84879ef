package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "123 (racecar: A[2]) x) T 1 123 123 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 4242 1000 77 18446744073709551615 1"
	got, err := parseStat([]byte(line))
	if want := (procStat{state: 'T', ppid: 1, started: 4242, rssPages: 77}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) S 1", "1 (x) S a b c d e f g h i j k l m n o p q r s t u v w"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
	if rss := OwnRSS(); rss < 1<<20 {
		t.Errorf("this process takes %d bytes", rss)
	}
}

// A child uses numbers just above those of its files between fork and exec.
func TestImagesAreHeldAtHighNumbers(t *testing.T) {
	i, err := runningImage()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if fd := i.(*heldImage).file.Fd(); fd < 200 {
		t.Errorf("descriptor %d", fd)
	}
}

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
	if w.Explains(c) {
		t.Error("before the first look")
	}
	w.Update(c)
	if w.Explains(c) {
		t.Error("nothing happened")
	}
	c.n = 4
	if !w.Explains(c) || w.Explains(c) {
		t.Error("one kill, one death")
	}
	c.n = 5
	w.Update(c)
	if !w.Explains(c) || w.Explains(c) {
		t.Error("the loop had not heard of it yet")
	}
	c.n = 6
	w.Update(c)
	w.Update(c)
	if w.Explains(c) {
		t.Error("that one was of something else")
	}
}

// Code in this process may be about to wait for an unknown zombie.
func TestOrphansAreReaped(t *testing.T) {
	start := func() int {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for by := time.Now().Add(30 * time.Second); ; {
			for _, z := range Zombies() {
				if z.pid == cmd.Process.Pid {
					return z.pid
				}
			}
			if time.Now().After(by) {
				t.Fatal("it does not end")
			}
			<-time.After(time.Millisecond)
		}
	}
	ours, orphan := start(), start()
	known := map[int]bool{ours: true}
	var r Reaper
	now := time.Now()
	if reaped, again := r.Reap(now, known); len(reaped) != 0 || !again.Equal(now.Add(orphanAge)) {
		t.Errorf("at once: %v, again at %v", reaped, again)
	}
	reaped, again := r.Reap(now.Add(orphanAge), known)
	if len(reaped) != 1 || reaped[0] != orphan || !again.IsZero() {
		t.Errorf("later: %v, again at %v", reaped, again)
	}
	left := Zombies()
	if len(left) != 1 || left[0].pid != ours {
		t.Errorf("left: %v", left)
	}
	var second Reaper
	second.Reap(now, nil)
	second.Reap(now.Add(orphanAge), nil)
}
