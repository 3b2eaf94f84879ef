package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/test/harness"
)

// --daemonize says what upstream says, exits 0 once the daemon runs, and a second
// start with the same pidfile is refused in upstream's words.
func TestDaemonize(t *testing.T) {
	b := newBed(t, 800)
	dir := t.TempDir()
	b.outlives, b.workdir = true, dir
	first := b.start(nil, "--daemonize", "--pidfile", "d.pid", "--logfile", "d.log", "Journal")
	if code := first.Wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	path := filepath.Join(dir, "d.pid")
	want := strings.Join([]string{
		"=> Starting Racecar consumer Journal...", "=> Logging to d.log", "=> Wrooooom!",
		"=> Starting background process", "=> Writing PID to " + path, "",
	}, "\n")
	if got := first.Stderr(); got != want {
		t.Errorf("stderr\n%s\nwant\n%s", got, want)
	}
	holder, err := pidfile.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()

	second := b.start(nil, "--daemonize", "--pidfile", "d.pid", "--logfile", "d.log", "Journal")
	if code := second.Wait(); code != 1 || !strings.Contains(second.Stderr(), "=> Racecar is already running with that PID file ("+path+")") {
		t.Errorf("second start: exit code %d, stderr\n%s", code, second.Stderr())
	}

	b.awaitProcessed(b.total())
	if err := holder.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.judge(b.evidence())
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the pidfile is still there: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "d.log"))
	if err != nil || !strings.Contains(string(log), "worker stopped") {
		t.Errorf("log %v:\n%s", err, log)
	}
}

// What keeps the daemon from coming up is the launching process's error.
func TestDaemonizeFailsWithTheDaemonsError(t *testing.T) {
	b := newBed(t, 0)
	p := b.start([]string{"JOURNAL_BOOT=exit"}, "--daemonize", "--worker-restart-limit", "0", "--logfile", "d.log", "Journal")
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "=> Crashed: ") || !strings.Contains(last, "9") {
		t.Errorf("last line of stderr: %s", last)
	}
	harness.Eventually(t, "nothing left running", func() error {
		if procs := p.Processes(); len(procs) > 0 {
			return errCount(len(procs))
		}
		return nil
	})
}
