package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Exit(Main(m, map[string]func(){
		"polite":       polite,
		"unresponsive": unresponsive,
		"orphan":       orphan,
		"daemon":       daemon,
		"litter":       litter,
		"journal":      journal,
		"racy":         func() { fmt.Println("WARNING: DATA RACE") },
	}))
}

// terminated delivers the first SIGTERM.
func terminated() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	return c
}

// polite says what it is asked to, and ends at a TERM, with 7.
func polite() {
	term := terminated()
	fmt.Println("ready", os.Args[1:], os.Getenv("EXTRA"))
	fmt.Fprintln(os.Stderr, "and on the other stream")
	<-term
	fmt.Print("no newline at the end")
	os.Exit(7)
}

// unresponsive does not end at a TERM.
func unresponsive() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGQUIT)
	fmt.Println("ready")
	select {}
}

// child starts this program in another role, in a session of its own if asked.
func child(role string, session bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// orphan leaves a child behind that does not end.
func orphan() { child("unresponsive", true) }

// daemon leaves a child behind that ends at a TERM.
func daemon() { child("polite", true) }

// litter leaves a socket, a pidfile, a log and a temporary file.
func litter() {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "app.sock"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l.SetUnlinkOnClose(false)
	for _, file := range []string{"app.pid", "app.log", "was-there", filepath.Join(os.TempDir(), "scratch")} {
		if err := os.WriteFile(file, []byte("a line\n"), 0o600); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

type entry struct{ Pid, N int }

// journal writes a thousand entries from ten goroutines and is then killed.
func journal() {
	j, err := OpenJournal()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var writers sync.WaitGroup
	for i := range 10 {
		writers.Go(func() {
			for n := range 100 {
				if err := j.Append(entry{os.Getpid(), i*100 + n}); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		})
	}
	writers.Wait()
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		fmt.Println(err)
	}
}

// recorder is a test whose failures are what is tested.
type recorder struct {
	testing.TB
	complaints []string
	logs       []string
	cleanups   []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Failed() bool     { return len(r.complaints) > 0 }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any) { r.complaints = append(r.complaints, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) {
	r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatal(args ...any) { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// record runs test as a test and returns its complaints and logs, with those of
// its cleanup.
func record(t *testing.T, test func(testing.TB)) (complaints []string, logs string) {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
		}()
		test(r)
	}()
	<-done
	return r.complaints, strings.Join(r.logs, "\n")
}

// quickly shortens what a test of the harness has no time for.
func quickly(p *Process) *Process {
	p.grace = graces{term: 2 * time.Second, quit: 500 * time.Millisecond, orphan: 500 * time.Millisecond, read: 5 * time.Second}
	return p
}

func TestProcess(t *testing.T) {
	p := Start(t, Command{Role: "polite", Args: []string{"a", "b c"}, Env: []string{"EXTRA=more"}})
	if got, want := p.WaitLine(`^ready`), "ready [a b c] more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.WaitLine("other stream")
	procs := p.Processes()
	if len(procs) != 1 || procs[0].Pid != p.Pid() || procs[0].Parent != os.Getpid() {
		t.Errorf("processes %v, want pid %d of parent %d", procs, p.Pid(), os.Getpid())
	}
	if fds, err := FDs(p.Pid()); err != nil || len(fds) < 3 || !strings.HasPrefix(fds[1], "1 pipe:") {
		t.Errorf("descriptors %q, %v", fds, err)
	}
	if pss, err := PSS(p.Pid()); err != nil || pss < 100<<10 {
		t.Errorf("%d bytes, %v", pss, err)
	}
	if _, err := CPU(p.Pid()); err != nil {
		t.Error(err)
	}
	mark := p.Mark()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if out, err := p.Stdout(), p.Stderr(); out != "ready [a b c] more\nno newline at the end\n" || err != "and on the other stream\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	p.WaitLineAfter(mark, "no newline")
}

func TestSignaledExitCode(t *testing.T) {
	p := Start(t, Command{Path: "sleep", Args: []string{"60"}})
	p.SignalGroup(syscall.SIGKILL)
	if code := p.Wait(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
}

func TestMissingLineFailsOnceTheProcessIsGone(t *testing.T) {
	begin := time.Now()
	complaints, logs := record(t, func(t testing.TB) {
		Start(t, Command{Path: "echo", Args: []string{"something"}}).WaitLine("else")
	})
	if len(complaints) != 1 || !strings.Contains(complaints[0], `no line of echo something matches "else"`) {
		t.Errorf("complaints %q", complaints)
	}
	if !strings.Contains(logs, "out | something") {
		t.Errorf("the output is not shown: %q", logs)
	}
	if took := time.Since(begin); took > Patience/2 {
		t.Errorf("it took %s", took)
	}
}

func TestCleanupStopsQuietly(t *testing.T) {
	complaints, logs := record(t, func(t testing.TB) {
		Start(t, Command{Role: "polite"}).WaitLine("ready")
	})
	if len(complaints) > 0 || logs != "" {
		t.Errorf("complaints %q, logs %q", complaints, logs)
	}
}

func TestCleanupWakesTheStopped(t *testing.T) {
	complaints, _ := record(t, func(t testing.TB) {
		p := Start(t, Command{Role: "polite"})
		p.WaitLine("ready")
		p.Signal(syscall.SIGSTOP)
	})
	if len(complaints) > 0 {
		t.Errorf("complaints %q", complaints)
	}
}

func TestCleanupKillsUnresponsiveProcesses(t *testing.T) {
	var p *Process
	complaints, logs := record(t, func(t testing.TB) {
		p = quickly(Start(t, Command{Role: "unresponsive"}))
		p.grace.term = 300 * time.Millisecond
		p.WaitLine("ready")
	})
	if len(complaints) != 2 || !strings.HasSuffix(complaints[0], "gets quit") || !strings.HasSuffix(complaints[1], "gets killed") {
		t.Errorf("complaints %q", complaints)
	}
	if !strings.Contains(logs, "out | ready") {
		t.Errorf("the output is not shown: %q", logs)
	}
	if left := p.Processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCleanupFindsOrphans(t *testing.T) {
	var p *Process
	complaints, _ := record(t, func(t testing.TB) {
		p = quickly(Start(t, Command{Role: "orphan"}))
		if code := p.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		p.WaitLine("ready")
	})
	if len(complaints) != 1 || !strings.Contains(complaints[0], "but not its descendant") {
		t.Errorf("complaints %q", complaints)
	}
	if left := p.Processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCleanupStopsDaemons(t *testing.T) {
	var p *Process
	complaints, _ := record(t, func(t testing.TB) {
		p = quickly(Start(t, Command{Role: "daemon", Outlives: true}))
		p.Wait()
		p.WaitLine("ready")
		if n := len(p.Processes()); n != 1 {
			t.Errorf("%d processes, want the daemon", n)
		}
	})
	if len(complaints) > 0 {
		t.Errorf("complaints %q", complaints)
	}
	if left := p.Processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCleanupFindsRaces(t *testing.T) {
	complaints, _ := record(t, func(t testing.TB) { Start(t, Command{Role: "racy"}).Wait() })
	if len(complaints) != 1 || complaints[0] != "[racy]: data race" {
		t.Errorf("complaints %q", complaints)
	}
}

func TestCleanupFindsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "was-there"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var p *Process
	complaints, logs := record(t, func(t testing.TB) {
		p = Start(t, Command{Role: "litter", Dir: dir, KeepsFiles: []string{"*.pid"}})
		if code := p.Wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	want := []string{
		"[litter] left " + filepath.Join(dir, "app.sock"),
		"[litter] left " + filepath.Join(p.Temp, "tmp", "scratch"),
	}
	if !slices.Equal(complaints, want) {
		t.Errorf("complaints %q, want %q", complaints, want)
	}
	if !strings.Contains(logs, "app.log\na line") {
		t.Errorf("the log file is not shown: %q", logs)
	}
}

func TestJournalsSurviveAKill(t *testing.T) {
	p := Start(t, Command{Role: "journal"})
	q := Start(t, Command{Role: "journal", Env: []string{journalVar + "=" + p.Journals}})
	for _, o := range []*Process{p, q} {
		if code := o.Wait(); code != 137 {
			t.Fatalf("exit code %d, want 137", code)
		}
	}
	all := WaitJournals(t, p.Journals, func(all []entry) bool { return len(all) == 2000 })
	seen := map[entry]int{}
	for _, e := range all {
		seen[e]++
	}
	for _, o := range []*Process{p, q} {
		for n := range 1000 {
			if seen[entry{o.Pid(), n}] != 1 {
				t.Fatalf("entry %d of %d is there %d times", n, o.Pid(), seen[entry{o.Pid(), n}])
			}
		}
	}
}

func TestReadJournals(t *testing.T) {
	tests := []struct {
		name, text string
		want       []entry
		err        string
	}{
		{"empty", "", nil, ""},
		{"two", "{\"N\":1}\n{\"N\":2}\n", []entry{{N: 1}, {N: 2}}, ""},
		{"cut short", "{\"N\":1}\n{\"N\"", []entry{{N: 1}}, ""},
		{"junk", "{\"N\":1}\nx\n", nil, "1.jsonl:2: invalid character"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "1.jsonl"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadJournals[entry](dir)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestUnknownRole(t *testing.T) {
	p := Start(t, Command{Role: "nobody"})
	if code := p.Wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	p.WaitLine(`no role "nobody"`)
}

func TestOpenJournalOutsideOfAProcess(t *testing.T) {
	t.Setenv(journalVar, "")
	if _, err := OpenJournal(); err == nil {
		t.Error("no error")
	}
}
