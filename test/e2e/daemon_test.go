package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// What keeps the daemon from coming up is the launching process's error, and a
// service manager never hears that it is ready.
func TestDaemonizeFailsWithTheDaemonsError(t *testing.T) {
	for boot, c := range map[string]struct{ limit, want string }{
		"exit":  {"0", "exited with status 9"},
		"hang":  {"1", "the constructor has not returned within worker_boot_timeout (2s)"},
		"fail":  {"1", "constructor of Journal: told to fail at boot"},
		"fatal": {"5", "constructor of Journal: told to fail for good"},
	} {
		t.Run(boot, func(t *testing.T) {
			b := newBed(t, 0)
			path := filepath.Join(t.TempDir(), "notify")
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			p := b.start([]string{"JOURNAL_BOOT=" + boot, "NOTIFY_SOCKET=" + path}, "--daemonize", "--worker-restart-limit", c.limit, "--worker-boot-timeout", "2", "--logfile", "d.log", "Journal")
			if code := p.Wait(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "=> Crashed: ") || !strings.Contains(last, c.want) {
				t.Errorf("last line of stderr: %s", last)
			}
			harness.Eventually(t, "nothing left running", func() error {
				if procs := p.Processes(); len(procs) > 0 {
					return errCount(len(procs))
				}
				return nil
			})
			if heard := notified(t, manager); strings.Contains(heard, "READY=1") || !strings.Contains(heard, "STOPPING=1") {
				t.Errorf("the service manager heard %q", heard)
			}
		})
	}
}

// notified is all that a socket of a service manager has received.
func notified(t *testing.T, manager *net.UnixConn) string {
	t.Helper()
	if err := manager.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var heard strings.Builder
	buf := make([]byte, 1<<10)
	for {
		n, err := manager.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return heard.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		heard.Write(buf[:n])
	}
}
