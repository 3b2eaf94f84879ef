package monitor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"golang.org/x/sys/unix"
)

// The liveness file belongs to this user: racecar follows no link, waits for no pipe and
// touches no file of another user.
func TestLivenessFileOfOthers(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(target, long, long); err != nil {
		t.Fatal(err)
	}
	makes := map[string]func(path string) error{
		"a link":   func(path string) error { return os.Symlink(target, path) },
		"dangling": func(path string) error { return os.Symlink(filepath.Join(dir, "none"), path) },
		"a pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	}
	if os.Geteuid() == 0 {
		makes["another user's"] = func(path string) error {
			if err := os.WriteFile(path, nil, 0o666); err != nil {
				return err
			}
			return os.Chown(path, 65534, 65534)
		}
	}
	for name, make := range makes {
		path := filepath.Join(t.TempDir(), "liveness")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.LivenessProbeFilePath = path
		if _, err := NewLiveness(&c, nil, nil); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		live := &Liveness{path: path, every: time.Second, now: time.Now, ask: func(context.Context) (status.Status, error) { return status.Status{}, nil }}
		if why := live.check(t.Context()); why == "" {
			t.Errorf("%s was touched", name)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: it was removed: %v", name, err)
		}
	}
	if info, err := os.Stat(target); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("the target of the link was touched: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("made beside it: %v, %v", entries, err)
	}
}

func TestLivenessFileInTheUsersFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c := config.Default()
	dir := config.LivenessDir(os.Environ())
	c.LivenessProbeFilePath = filepath.Join(dir, "g.liveness")
	if _, err := NewLiveness(&c, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := NewLiveness(&c, nil, nil); err == nil {
		t.Error("a folder that others can write to")
	}
}
