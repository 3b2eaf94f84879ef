package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The program that these tests start in the background is this binary; this variable has
// what its daemon does.
const envDoes = "DAEMON_TEST_DOES"

func TestMain(m *testing.M) {
	does, ok := os.LookupEnv(envDoes)
	if !ok {
		os.Exit(m.Run())
	}
	d, err := Start(os.Getenv("DAEMON_TEST_LOG"))
	if d == nil {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("launched")
		os.Exit(0)
	}
	if err != nil {
		d.Fail(err)
		os.Exit(1)
	}
	switch does {
	case "fail":
		d.Fail(errors.New("no such consumer"))
		os.Exit(1)
	case "die":
		os.Exit(7)
	}
	// A report about the daemon, for the test to read.
	f, err := os.Create(os.Getenv("DAEMON_TEST_REPORT"))
	if err != nil {
		d.Fail(err)
		os.Exit(1)
	}
	dir, _ := os.Getwd()
	_ = d.ChdirRoot()
	root, _ := os.Getwd()
	stdin, _ := io.ReadAll(os.Stdin)
	sid, _ := unix.Getsid(0)
	mask := unix.Umask(0)
	_, mark := os.LookupEnv("_GO_DAEMON")
	fmt.Fprintf(f, "dir %s\nroot %s\nstdin %q\nleader %v\numask %o\nargs %q\nmark %v\n", dir, root, stdin, sid == os.Getpid(), mask, os.Args[1:], mark)
	_ = f.Close()
	fmt.Println("to stdout")
	fmt.Fprintln(os.Stderr, "to stderr")
	if log := os.Getenv("DAEMON_TEST_LOG"); log != "" {
		_ = os.Rename(log, log+".1")
		if err := ReopenOutput(log, 1, 2); err != nil {
			fmt.Println(err)
		}
		fmt.Println("after the rename")
	}
	d.Ready()
	d.Ready()
	fifo, err := os.Open(os.Getenv("DAEMON_TEST_END")) // until the test opens it too
	if err == nil {
		_, _ = io.ReadAll(fifo)
	}
}

type launched struct {
	dir, report, log, out string
	err                   error
}

func run(t *testing.T, does string) launched {
	t.Helper()
	dir := t.TempDir()
	l := launched{dir: dir, report: filepath.Join(dir, "report"), log: filepath.Join(dir, "log")}
	end := filepath.Join(dir, "end")
	if err := unix.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "an argument")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("something to read")
	cmd.Env = append(os.Environ(), envDoes+"="+does, "DAEMON_TEST_REPORT="+l.report, "DAEMON_TEST_LOG="+l.log,
		"DAEMON_TEST_END="+end, "_GO_DAEMON=1") // as if a daemon had started us
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	l.out, l.err = strings.TrimSpace(string(out)), err
	if err == nil {
		f, err := os.OpenFile(end, os.O_WRONLY, 0) // waits for the daemon, then makes it exit
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return l
}

func TestDaemon(t *testing.T) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	l := run(t, "run")
	if l.err != nil || l.out != "launched" {
		t.Fatalf("%q, %v", l.out, l.err)
	}
	got := map[string]string{}
	f, err := os.Open(l.report)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), " ")
		got[k] = v
	}
	for k, want := range map[string]string{
		"dir": l.dir, "root": "/", "stdin": `""`, "leader": "true", "umask": "27", "args": `["an argument"]`, "mark": "false",
	} {
		if got[k] != want {
			t.Errorf("%s is %s, want %s", k, got[k], want)
		}
	}
	if b, err := os.ReadFile(l.log + ".1"); string(b) != "to stdout\nto stderr\n" {
		t.Errorf("log has %q, %v", b, err)
	}
	if b, err := os.ReadFile(l.log); string(b) != "after the rename\n" {
		t.Errorf("new log has %q, %v", b, err)
	}
}

func TestLauncherEndsWithTheDaemonsError(t *testing.T) {
	if l := run(t, "fail"); l.err == nil || l.out != "no such consumer" {
		t.Errorf("%q, %v", l.out, l.err)
	}
	l := run(t, "die")
	if l.err == nil || !strings.Contains(l.out, "ended before it was ready: exit status 7; see "+l.log) {
		t.Errorf("%q, %v", l.out, l.err)
	}
}
