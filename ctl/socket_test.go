package ctl

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestSocketBeside(t *testing.T) {
	for pidfile, want := range map[string]string{
		"/run/a.pid": "/run/a.sock",
		"a":          "a.sock",
		"a.pid.pid":  "a.pid.sock",
	} {
		if got := SocketBeside(pidfile); got != want {
			t.Errorf("beside %q: %q, want %q", pidfile, got, want)
		}
	}
}

func listen(t *testing.T, path string) *Listener {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// leaveOver makes a socket nobody listens at.
func leaveOver(t *testing.T, path string) {
	t.Helper()
	err := reach(path, func(address string) error {
		ln, err := net.Listen("unix", address)
		if err != nil {
			return err
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		return ln.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	leaveOver(t, path)
	l := listen(t, path) // in place of the left-over

	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v; want a socket with 0600", info.Mode(), err)
	}
	_, err = Listen(path)
	want := fmt.Sprintf("control socket %q: another process (PID = %d) answers there; stop it or set control_socket", path, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("second: %v\nwant %s", err, want)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	fifo := filepath.Join(dir, "fifo")
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, fifo, link, dir} {
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "something that is not a socket") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s was touched: %v", path, err)
		}
	}
	if _, err := Listen(filepath.Join(dir, "none", "a.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestCloseKeepsTheSocketOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := dial(t.Context(), path)
	if err != nil {
		t.Fatalf("the second's socket is gone: %v", err)
	}
	_ = c.Close()
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.sock")
	leaveOver(t, path)
	listen(t, path)
	c, err := dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestOtherUsersAreRejected(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, filepath.Join(dir, "a.sock"))
	if err := os.Chmod(l.Path(), 0o666); err != nil { // as if the mode had been widened
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_ = c.Close()
		}
		accepted <- err
	}()
	temporary := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Mkdir(temporary, 0o700), os.Chmod(temporary, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(publicCopy(t, dir), "-test.run=^TestHelperConnects$")
	cmd.Env = append(os.Environ(), "CTL_TEST_CONNECT="+l.Path(), "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hung up") {
		t.Errorf("the stranger saw %q, %v; want to be hung up on", out, err)
	}
	_ = l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a stranger's connection was accepted (%v)", err)
	}
}

// publicCopy makes a copy of the test binary that everybody can run: the go
// command keeps its own in a private folder.
func publicCopy(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy.test")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelperConnects(t *testing.T) {
	path := os.Getenv("CTL_TEST_CONNECT")
	if path == "" {
		t.Skip("run by TestOtherUsersAreRejected")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		fmt.Println("hung up")
	}
}

func TestRuntimeFind(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	r := Runtime{Dirs: []string{one, two}}
	if got, err := r.Find(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("nothing there: %v, %v", got, err)
	}
	l, err := r.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if info, err := os.Lstat(one); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	elsewhere := listen(t, filepath.Join(t.TempDir(), "b.sock"))
	link, err := Runtime{Dirs: []string{two}}.Announce(elsewhere.Path())
	if err != nil {
		t.Fatal(err)
	}
	leftOver := filepath.Join(one, "1.sock")
	leaveOver(t, leftOver)
	dangling := filepath.Join(one, "2.link.sock")
	if err := os.Symlink(filepath.Join(one, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(one, "notes.txt")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	got, err := r.Find(t.Context())
	if want := []string{l.Path(), elsewhere.Path()}; err != nil || !slices.Equal(got, want) {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
	for _, gone := range []string{leftOver, dangling} {
		if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left-over %s is still there (%v)", gone, err)
		}
	}
	if _, err := os.Lstat(other); err != nil {
		t.Errorf("a file that is none of ours is gone: %v", err)
	}
	link.Withdraw()
	if got, _ = r.Find(t.Context()); !slices.Equal(got, []string{l.Path()}) {
		t.Errorf("after withdrawing: %q", got)
	}
}

func TestRuntimeListenTwice(t *testing.T) {
	r := Runtime{Dirs: []string{filepath.Join(t.TempDir(), "run")}}
	for range 2 { // as two pid namespaces that share the folder do
		l, err := r.Listen()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	if got, err := r.Find(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("found %q, %v", got, err)
	}
}

func TestRuntimeRejectsUnsafeDirectories(t *testing.T) {
	base := t.TempDir()
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{open: "can be written by others (mode 0777)", link: "is not a folder"}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(base, "foreign")
		if err := os.Mkdir(foreign, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 65534, -1); err != nil {
			t.Fatal(err)
		}
		cases[foreign] = "belongs to user 65534"
	}
	for dir, want := range cases {
		if _, err := (Runtime{Dirs: []string{dir}}).Listen(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
		if _, err := (Runtime{Dirs: []string{dir}}).Find(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("find in %s: %v, want %q", dir, err, want)
		}
	}
	// The next folder is used where the first one cannot be.
	good := filepath.Join(base, "good")
	l, err := Runtime{Dirs: []string{filepath.Join(base, "no", "parent"), good}}.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if filepath.Dir(l.Path()) != good {
		t.Errorf("socket in %s", l.Path())
	}
}

// A cleaner that removes socket, link and folder leaves a supervisor that is found
// again, and the connections that there are stay.
func TestRestore(t *testing.T) {
	one := filepath.Join(t.TempDir(), "one")
	r := Runtime{Dirs: []string{one}}
	l, err := r.Listen()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			accepted <- c
		}
	}()
	elsewhere := listen(t, filepath.Join(t.TempDir(), "b.sock"))
	link, err := r.Announce(elsewhere.Path())
	if err != nil {
		t.Fatal(err)
	}
	if fresh, err := l.Restore(); fresh || err != nil {
		t.Errorf("nothing to do: %t, %v", fresh, err)
	}
	connect := func() {
		t.Helper()
		c, err := dial(t.Context(), l.Path())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		_ = (<-accepted).Close()
	}
	connect()
	for range 2 {
		if err := os.RemoveAll(one); err != nil {
			t.Fatal(err)
		}
		if fresh, err := l.Restore(); !fresh || err != nil {
			t.Errorf("removed: %t, %v", fresh, err)
		}
		if err := link.Restore(); err != nil {
			t.Error(err)
		}
		connect()
		want := []string{elsewhere.Path(), l.Path()}
		found, err := r.Find(t.Context())
		_ = (<-accepted).Close() // Find connects
		slices.Sort(found)
		slices.Sort(want)
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("found %q, %v; want %q", found, err, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-accepted; open {
		t.Error("a connection after the end")
	}
	if fresh, err := l.Restore(); fresh || err != nil {
		t.Errorf("after the end: %t, %v", fresh, err)
	}
	link.Withdraw()
	if left, _ := os.ReadDir(one); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What somebody else has put at the path is left alone, and said.
func TestRestoreKeepsTheSocketOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := listen(t, path)
	if fresh, err := first.Restore(); fresh || err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%t, %v", fresh, err)
	}
	if there, err := os.Lstat(path); err != nil || !os.SameFile(there, second.now.own) {
		t.Errorf("%v, %v", there, err)
	}
}

// A folder of others may be locked by anybody, for as long as they like.
func TestLockedSharedDirectoryDoesNotBlock(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	listen(t, filepath.Join(dir, "a.sock"))
}
