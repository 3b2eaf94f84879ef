package pidfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A record lock belongs to a process, and a process never collides with itself.
// So the holder in these tests is another process: this binary, with this variable.
const envHold = "PIDFILE_TEST_HOLD"

func TestMain(m *testing.M) {
	path, ok := os.LookupEnv(envHold)
	if !ok {
		os.Exit(m.Run())
	}
	p, err := Create(path)
	var running *RunningError
	switch {
	case errors.As(err, &running):
		fmt.Println("running", running.PID)
		os.Exit(1)
	case err != nil:
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until a line or EOF comes
	if err := p.Remove(); err != nil {
		fmt.Println("error", err)
	}
}

// other is another process that holds a pidfile.
type other struct {
	cmd *exec.Cmd
	out *bufio.Reader
	in  io.Closer
}

// launch starts one.
func launch(t *testing.T, path string) *other {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envHold+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &other{cmd, bufio.NewReader(out), in}
	t.Cleanup(o.stop)
	return o
}

func (o *other) says() string {
	line, _ := o.out.ReadString('\n')
	return strings.TrimSpace(line)
}

// stop makes it remove the file and exit.
func (o *other) stop() {
	_ = o.in.Close()
	_ = o.cmd.Wait() // an error the second time
}

// start launches one that has to hold the file.
func start(t *testing.T, path string) *other {
	t.Helper()
	o := launch(t, path)
	if said := o.says(); said != "held" {
		t.Fatalf("it said %q", said)
	}
	return o
}

func checkQuery(t *testing.T, path string, want State, wantPID int) {
	t.Helper()
	state, pid, err := Query(path)
	if err != nil || state != want || pid != wantPID {
		t.Errorf("Query: %s %d, %v; want %s %d", state, pid, err, want, wantPID)
	}
}

func TestHeldWhileItsProcessLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	checkQuery(t, path, Exited, 0)
	holder := start(t, path)
	pid := holder.cmd.Process.Pid
	checkQuery(t, path, Running, pid)
	if b, _ := os.ReadFile(path); string(b) != strconv.Itoa(pid)+"\n" {
		t.Errorf("content %q", b)
	}
	if said := launch(t, path).says(); said != "running "+strconv.Itoa(pid) {
		t.Errorf("a second one said %q", said)
	}
	holder.stop()
	checkQuery(t, path, Exited, 0)
}

func TestFileOfAKilledProcessIsDeadAndTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	holder := start(t, path)
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	holder.stop()
	checkQuery(t, path, Dead, 0)
	start(t, path)
}

func TestTwoStartsAtOnceOneWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	var all []*other
	for range 8 {
		all = append(all, launch(t, path))
	}
	held := 0
	for _, o := range all {
		if said := o.says(); said == "held" {
			held++
		} else if !strings.HasPrefix(said, "running ") {
			t.Error(said)
		}
	}
	if held != 1 {
		t.Errorf("%d hold the file", held)
	}
}

// The content of a file does not matter: nobody holds these, and none of the processes
// has written them.
func TestContentIsNotTrusted(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	ancient := time.Unix(1, 0)
	for _, content := range []string{"", "junk", strconv.Itoa(gone.Process.Pid), strconv.Itoa(os.Getppid()), "-1", "99999999999999999999", strings.Repeat("1", 1<<20)} {
		path := filepath.Join(t.TempDir(), "r.pid")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, ancient, ancient); err != nil {
			t.Fatal(err)
		}
		checkQuery(t, path, Dead, 0)
		if _, err := Find(path); !errors.Is(err, ErrNotRunning) {
			t.Errorf("Find with content %.20q: %v", content, err)
		}
	}
}

// A pidfile of Racecar in Ruby: its process lives and holds no lock. It is neither
// reported as dead nor overwritten.
func TestPidfileOfAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	ruby := exec.Command("sleep", "1000")
	if err := ruby.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ruby.Process.Kill(); _ = ruby.Wait() })
	content := strconv.Itoa(ruby.Process.Pid)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pidfile %q names process %s, another program (sleep 1000) that is alive but does not hold its lock, as Racecar in Ruby: stop it by its own means, or choose another pidfile", path, content)
	check := func(what string, err error) {
		t.Helper()
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", what, err, want)
		}
	}
	_, err := Create(path)
	check("Create", err)
	_, _, err = Query(path)
	check("Query", err)
	if b, err := os.ReadFile(path); err != nil || string(b) != content {
		t.Errorf("content %q, %v", b, err)
	}
	if err := ruby.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; { // a zombie is enough
		_, err := startOf(ruby.Process.Pid)
		ended = errors.Is(err, unix.ESRCH)
	}
	checkQuery(t, path, Dead, 0)
	start(t, path)
}

// Anybody may hold a lock for reading: its holder is not the file's process.
func TestLockForReadingIsNotAHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	reader := exec.Command("python3", "-c", "import fcntl,sys; f=open(sys.argv[1]); fcntl.lockf(f, fcntl.LOCK_SH); print('locked', flush=True); sys.stdin.read()", path)
	in, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Skipf("no python3 to hold the lock: %v", err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = reader.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("%q, %v", line, err)
	}
	checkQuery(t, path, Dead, 0)
	if _, err := Find(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Find: %v", err)
	}
	if _, err := Create(path); err == nil || !strings.Contains(err.Error(), "locked for reading") {
		t.Errorf("Create: %v", err)
	}
}

func TestFilesThatAreNoPidfiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("text"), []byte("precious\n"), 0o644))
	must(os.WriteFile(at("target"), nil, 0o644))
	must(os.Symlink(at("target"), at("link")))
	must(unix.Mkfifo(at("fifo"), 0o644))
	must(os.Mkdir(at("dir"), 0o755))
	for name, want := range map[string]string{
		"text": "not a pidfile", "link": "symbolic link", "fifo": "not a regular file", "dir": "directory", "no/such": "no such file",
	} {
		if _, err := Create(at(name)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("Create of %s: %v", name, err)
		}
	}
	if b, _ := os.ReadFile(at("text")); string(b) != "precious\n" {
		t.Errorf("text became %q", b)
	}
	for _, name := range []string{"link", "fifo", "dir"} {
		if _, _, err := Query(at(name)); err == nil {
			t.Errorf("Query took %s", name)
		}
		if _, err := Find(at(name)); err == nil || errors.Is(err, ErrNotRunning) && name != "dir" {
			t.Errorf("Find of %s: %v", name, err)
		}
	}
}

func TestHolderIsSignalledAndAwaited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	other := start(t, path)
	h, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.PID != other.cmd.Process.Pid {
		t.Errorf("found %d", h.PID)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*pollEvery)
	defer cancel()
	if err := h.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it lives: %v", err)
	}
	if err := h.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Error(err)
	}
	other.stop()
	if err := h.Signal(unix.SIGTERM); err != nil {
		t.Errorf("a signal to one that has ended: %v", err)
	}
}

// Remove does not remove the file of another process that was created after ours was
// removed.
func TestRemoveKeepsTheFileOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.pid")
	p, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next := start(t, path)
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	checkQuery(t, path, Running, next.cmd.Process.Pid)
}

func TestDirectoryNotWritable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(dir, "r.pid")); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Error(err)
	}
}

// FuzzParse: a number is taken only from a file that has nothing but that
// number; what is taken is a possible pid and reads the same again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "1", " 42\n", "0", "-1", "+1", "1 2", "0x10", "２", "99999999999", "\x00", "1\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parse(b)
		if err != nil {
			return
		}
		if n <= 0 || n > 1<<31-1 {
			t.Errorf("%q is pid %d", b, n)
		}
		if again, err := parse([]byte(strconv.Itoa(n))); err != nil || again != n {
			t.Errorf("%d again: %d, %v", n, again, err)
		}
	})
}

func TestHoldChecksAgain(t *testing.T) {
	h, err := Hold(os.Getpid(), func() bool { return true })
	if err != nil || h.PID != os.Getpid() {
		t.Fatalf("our own process: %v, %v", h, err)
	}
	h.Close()
	if _, err := Hold(os.Getpid(), func() bool { return false }); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no longer the same: %v", err)
	}
	asked := false
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(gone.Process.Pid, func() bool { asked = true; return false }); !errors.Is(err, ErrNotRunning) || asked {
		t.Errorf("a process that has ended: %v, asked %t", err, asked)
	}
}
