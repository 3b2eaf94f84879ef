package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// directoryOf is where a process runs.
func directoryOf(t *testing.T, pid int) string {
	t.Helper()
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// In the background consumers run where they do in the foreground: a relative file
// of theirs is the same one.
func TestWorkersOfADaemonRunWhereItWasStarted(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	b.workdir, b.outlives, b.keeps = b.dir, true, []string{"*.journal", "d.log*"}
	launch := b.start([]string{"JOURNAL_DIR=."}, "--daemonize", "--pidfile", "d.pid", "--logfile", "d.log", "Journal")
	if code := launch.Wait(); code != 0 {
		t.Fatalf("exit code %d: %s", code, launch.Stderr())
	}
	c := newControl(t, filepath.Join(b.dir, "d.sock"))
	st := c.statusUntil("running", allRunning(1))
	if dir := directoryOf(t, st.PID); dir != "/" {
		t.Errorf("the supervisor runs in %s", dir)
	}
	if dir := directoryOf(t, st.Workers[0].PID); dir != b.dir || st.Dir != b.dir {
		t.Errorf("the worker runs in %s, the status says %s; want %s", dir, st.Dir, b.dir)
	}
	b.awaitProcessed(b.total())

	// What consumers print goes where the log goes, after it was rotated too.
	log := filepath.Join(b.dir, "d.log")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.PID, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "stdout in the new log", func() error {
		for _, pid := range []int{st.PID, st.Workers[0].PID} {
			if out, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid)); err != nil || out != log {
				return fmt.Errorf("stdout of %d is %s, %w", pid, out, err)
			}
		}
		return nil
	})
	if err := syscall.Kill(st.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the daemon gone", func() error {
		if _, err := os.Stat(filepath.Join(b.dir, "d.pid")); err == nil {
			return fmt.Errorf("its pidfile is there")
		}
		return nil
	})
	b.judge(b.evidence())
}

// After a deploy by a link, rolled workers run in the new release's folder. Once the
// folder is gone altogether a roll is refused, and a worker that dies is replaced all
// the same.
func TestRolledWorkersRunInTheNewRelease(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	root := t.TempDir()
	current := filepath.Join(root, "current")
	for _, release := range []string{"1", "2"} {
		if err := os.MkdirAll(filepath.Join(root, "releases", release), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(release string) {
		t.Helper()
		if err := os.Symlink(filepath.Join("releases", release), current+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+".new", current); err != nil {
			t.Fatal(err)
		}
	}
	link("1")
	b.workdir = current
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start([]string{"PWD=" + current}, "--control-socket", socket, "--parallel-workers", "2", "Journal")
	c := newControl(t, socket)
	c.statusUntil("running", allRunning(2))
	link("2")
	if err := c.Restart(t.Context(), "", discard); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "releases", "1")); err != nil {
		t.Fatal(err)
	}
	st := c.statusUntil("running anew", allRunning(2))
	for _, w := range st.Workers {
		if dir := directoryOf(t, w.PID); dir != filepath.Join(root, "releases", "2") {
			t.Errorf("%s runs in %s", w.Name(), dir)
		}
	}
	b.awaitProcessed(b.total())

	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(t.Context(), "", discard); err == nil || !strings.Contains(err.Error(), "the working directory of the start, "+current+", cannot be used: no such file") {
		t.Errorf("a roll without its folder: %v", err)
	}
	if err := syscall.Kill(st.Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.statusUntil("the dead one replaced", func(now status.Status) error {
		if now.Workers[0].PID == st.Workers[0].PID {
			return fmt.Errorf("not yet")
		}
		return allRunning(2)(now)
	})
	if !strings.Contains(p.Stderr(), "racecar: the working directory of the start cannot be used: stat "+current) {
		t.Errorf("nothing is said of it: %s", p.Stderr())
	}
	if err := os.MkdirAll(current, 0o755); err != nil { // the harness looks there for what is left
		t.Fatal(err)
	}
	stop(t, p)
	e := b.evidence()
	e.AllowedRepeats = b.total()
	b.judge(e)
}

// A start in a folder that was removed says so.
func TestStartInARemovedFolder(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	refusedToStart(t, harness.Command{
		Role: "app", Path: "/bin/sh",
		Args: []string{"-c", `mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"`, gone, exe, "--brokers", "127.0.0.1:1", "Journal"},
	}, "the working directory cannot be used, it was removed or replaced: change to it again")
}
