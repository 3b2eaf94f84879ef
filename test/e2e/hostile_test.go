package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/test/harness"
)

// A file that is no pidfile is refused in one line and left as it is.
func TestPidfilesThatAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"junk":      {func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600) }, "is not a pidfile"},
		"stranger":  {func(path string) error { return os.WriteFile(path, fmt.Append(nil, os.Getpid()), 0o600) }, fmt.Sprintf("names process %d, another program (", os.Getpid())},
		"link":      {func(path string) error { return os.Symlink("/etc/passwd", path) }, "is a symbolic link"},
		"FIFO":      {func(path string) error { return unix.Mkfifo(path, 0o600) }, "is not a regular file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d.pid")
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			was, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			refusedToStart(t, harness.Command{Role: "app", Args: []string{"--pidfile", path, "Journal"}}, path, test.want)
			if is, err := os.Lstat(path); err != nil || is.Mode() != was.Mode() || is.Size() != was.Size() {
				t.Errorf("the file was changed: %v, %v", is, err)
			}
		})
	}
}

// Places that cannot be used are named, whether in the foreground or as a daemon,
// and nothing is left there.
func TestPlacesThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "somebody's\n")
	nowhere := filepath.Join(t.TempDir(), "nowhere", "x")
	for _, test := range []struct{ flag, path, want string }{
		{"--pidfile", nowhere, "--pidfile: open " + nowhere + ": no such file or directory; correct the path, or make what is missing"},
		{"--logfile", nowhere, "--logfile: open " + nowhere + ": no such file or directory; correct the path, or make what is missing"},
		{"--control-socket", nowhere, "control socket \"" + nowhere + "\": "},
		{"--control-socket", file, "there is something that is not a socket; remove it or set control_socket"},
		{"--pidfile", file, "is not a pidfile"},
	} {
		for _, daemonize := range []string{"--no-daemonize", "--daemonize"} {
			refusedToStart(t, harness.Command{Role: "app", Args: []string{"--brokers", "127.0.0.1:1", daemonize, test.flag, test.path, "Journal"}}, test.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "somebody's\n" {
		t.Errorf("the file was changed: %q, %v", text, err)
	}
}

// refusedToStart asserts that a command ends with exit code 1, a last line of
// stderr that has all that is wanted, and no worker started.
func refusedToStart(t *testing.T, c harness.Command, want ...string) {
	t.Helper()
	p := harness.Start(t, c)
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "=> Crashed: ") || strings.Count(p.Stderr(), "=> Crashed: ") != 1 {
		t.Errorf("stderr:\n%s", p.Stderr())
	}
	for _, w := range want {
		if !strings.Contains(last, w) {
			t.Errorf("last line: %s\nwant it to have %q", last, w)
		}
	}
	if strings.Contains(p.Output(), "worker started") {
		t.Error("a worker was started")
	}
}

// inFullDirectory runs this binary where dir is a file system without room.
func inFullDirectory(t *testing.T, dir string, args ...string) harness.Command {
	t.Helper()
	const script = `mount -t tmpfs -o size=16k none "$0" && { head -c 65536 /dev/zero >"$0/fill" 2>/dev/null; exec "$@"; }`
	unshare := []string{"-m"}
	if os.Getuid() != 0 {
		unshare = []string{"-rm"}
	}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no mounts of our own here: %v: %s", err, out)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	return harness.Command{Role: "app", Path: path, Args: append(append(unshare, "sh", "-c", script, dir, exe), args...)}
}

// A full disk keeps a racecar from starting where it would have to do without its
// pidfile, and leaves no half of one.
func TestNoRoomForThePidfile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d.pid")
	refusedToStart(t, inFullDirectory(t, dir, "--pidfile", path, "Journal"), fmt.Sprintf("write pidfile %q: no space left on device", path))
}

// A log that cannot be written to stops no work, and does not fill stderr.
func TestNoRoomForTheLog(t *testing.T) {
	t.Parallel()
	b := newBed(t, 400)
	p := b.start([]string{"JOURNAL_LOG=1"}, "--logfile", "/dev/full", "--parallel-workers", "2", "Journal")
	b.awaitProcessed(b.total())
	stop(t, p)
	b.judge(b.evidence())
	if n := strings.Count(p.Stderr(), "no space left on device"); n == 0 || n > 20 {
		t.Errorf("stderr says %d times that there is no room:\n%.2000s", n, p.Stderr())
	}
}

// Of daemons that start at the same time with the same pidfile one comes up, and
// the others say so.
func TestDaemonsThatStartAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, 40)
	dir := t.TempDir()
	b.outlives, b.workdir = true, dir
	var all []*harness.Process
	for range 3 {
		all = append(all, b.start(nil, "--daemonize", "--pidfile", "d.pid", "--logfile", "d.log", "Journal"))
	}
	up := 0
	for _, p := range all {
		switch code := p.Wait(); {
		case code == 0:
			up++
		case code != 1 || !strings.Contains(p.Stderr(), "d.pid"):
			t.Errorf("exit code %d: %s", code, p.Stderr())
		}
	}
	if up != 1 {
		t.Errorf("%d of 3 came up", up)
	}
	b.awaitProcessed(b.total())
	h, err := pidfile.Find(filepath.Join(dir, "d.pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.judge(b.evidence())
}

// When the supervisor cannot start a process (no descriptors are left), it logs that and
// retries with pauses, and other workers continue. Once there is room the worker is back.
func TestNoRoomForAnotherProcess(t *testing.T) {
	t.Parallel()
	x := newProduct(t, nil, 100)
	x.repeats = 100
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", x.p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	if err := unix.Prlimit(x.p.Pid(), unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		t.Helper()
		if err := unix.Prlimit(x.p.Pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	x.c.Close() // our connection takes one
	limit(uint64(len(entries) - 8))
	cpu, err := harness.CPU(x.p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := syscall.Kill(x.before.Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	x.p.WaitLine(`worker could not be started.*too many open files`)
	mark := x.p.Mark()
	x.p.WaitLineAfter(mark, `worker could not be started`)
	took := time.Since(began)
	used, err := harness.CPU(x.p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if used -= cpu; used > took/2 {
		t.Errorf("the supervisor used %v of processor time in %v", used, took)
	}
	limit(was.Cur)
	x.replaced(0, began)
	x.over(1)
}

// The pidfile and the socket of a killed supervisor do not hinder the next one.
func TestLeftoversOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	dir := t.TempDir()
	b.workdir, b.keeps = dir, []string{"d.pid", "*.sock"}
	args := []string{"--pidfile", filepath.Join(dir, "d.pid"), "--offset-commit-interval", "0.3", "Journal"}
	first := b.start(nil, args...)
	b.awaitProcessed(b.total())
	newControl(t, filepath.Join(dir, "d.sock")).statusUntil("committed", func(st status.Status) error {
		for _, w := range st.Workers {
			if w.Report == nil || len(w.Report.Partitions) == 0 {
				return errors.New("no report")
			}
			for _, p := range w.Report.Partitions {
				if p.Committed != p.Position {
					return fmt.Errorf("partition %d: position %d, committed %d", p.Partition, p.Position, p.Committed)
				}
			}
		}
		return nil
	})
	first.Signal(syscall.SIGKILL)
	first.Wait()
	for _, name := range []string{"d.pid", "d.sock"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("nothing was left: %v", err)
		}
	}
	second := b.start(nil, args...)
	newControl(t, filepath.Join(dir, "d.sock")).statusUntil("the second at work", allRunning(1))
	holder(t, filepath.Join(dir, "d.pid"), second.Pid(), "the takeover")
	b.produce(80)
	b.awaitProcessed(b.total())
	stop(t, second)
	b.judge(b.evidence())
	for _, name := range []string{"d.pid", "d.sock"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// As the first process of a container: what was left by others is reaped, the exits
// of the workers are not taken for such, and TERM stops all in order.
func TestAsTheFirstProcess(t *testing.T) {
	t.Parallel()
	flags := []string{"--pid", "--fork", "--mount-proc"}
	if os.Getuid() != 0 {
		flags = append(flags, "-r")
	}
	if out, err := exec.Command("unshare", append(flags, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no process numbers of our own here: %v: %s", err, out)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, 400)
	b.keeps = nil
	if b.program, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	b.prefix = append(flags, exe)
	p := b.start([]string{"JOURNAL_TRAP=0-1=orphan,1-1=orphan,2-1=orphan"}, "--parallel-workers", "2", "Journal")
	b.awaitProcessed(b.total())
	first := 0
	harness.Eventually(t, "the supervisor found", func() error {
		children := p.Children(p.Pid())
		if len(children) != 1 {
			return fmt.Errorf("%d children", len(children))
		}
		first = children[0].Pid
		return nil
	})
	dead := func() (n int) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range strings.Fields(string(children)) {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err == nil && strings.Contains(string(stat), ") Z ") {
				n++
			}
		}
		return n
	}
	harness.Eventually(t, "orphans ended", func() error {
		if n := dead(); n < 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	harness.Eventually(t, "orphans reaped", func() error {
		if n := dead(); n > 0 {
			return fmt.Errorf("%d are dead and not reaped", n)
		}
		return nil
	})
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.Stdout(), "worker stopped"); n != 2 || strings.Contains(p.Stdout(), "worker died") {
		t.Errorf("%d workers stopped in order", n)
	}
	b.judge(b.evidence())
}

// The supervisor alone notifies systemd of start, watchdog, reload and shutdown.
func TestServiceManagerIsNotified(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	await := func(want string) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	p := b.start([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000"}, "Journal")
	await("READY=1")
	await("WATCHDOG=1")
	for _, w := range workers(p) {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(w) + "/environ")
		if err != nil || strings.Contains(string(env), "NOTIFY_SOCKET=") || strings.Contains(string(env), "WATCHDOG_USEC=") {
			t.Errorf("a worker could notify as well: %v", err)
		}
	}
	p.Signal(syscall.SIGHUP)
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1")
	p.Signal(syscall.SIGTERM)
	await("STOPPING=1")
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The log is renamed while all processes write to it, as logrotate does, and HUP reopens
// it: no line is lost.
func TestRotatedLogLosesNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	dir := t.TempDir()
	b.workdir = dir
	path := filepath.Join(dir, "racecar.log")
	p := b.start([]string{"JOURNAL_LOG=1"}, "--logfile", path, "--parallel-workers", "2", "Journal")
	s := b.stream(500)
	for i := range 3 {
		b.awaitProcessed(500 * (i + 1))
		if err := os.Rename(path, filepath.Join(dir, fmt.Sprintf("old%d.log", i))); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
		harness.Eventually(t, "the new file written to by both workers", func() error {
			text, err := os.ReadFile(path)
			if err == nil && (!strings.Contains(string(text), "worker=0") || !strings.Contains(string(text), "worker=1")) {
				err = errors.New("not yet")
			}
			return err
		})
	}
	n := s.end()
	b.awaitProcessed(n)
	stop(t, p)
	b.judge(b.evidence())
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v", files, err)
	}
	seen := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range logLines(string(text)) {
			if l.msg == "processed" {
				seen[l.fields["key"]]++
			}
		}
	}
	if len(seen) != n {
		t.Errorf("the log has %d of %d messages", len(seen), n)
	}
}
