package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/internal/spawn"
)

// Patience is how long every wait of this package lasts at most before the test
// fails: long enough for a loaded machine, as a test that passes never waits it out.
const Patience = 60 * time.Second

// lastLines is how long the last output of a process that has ended may take to
// arrive, where others still have that output open: else it ends at once.
const lastLines = time.Second

// Command says what to start.
type Command struct {
	// Role runs the test binary again, in that role of Main's. Path runs another
	// program; with both it is a copy of the test binary. One of the two is set.
	Role string
	Path string
	Args []string

	// Env is added to the test's own environment. TMPDIR and XDG_RUNTIME_DIR are
	// set to fresh directories, so that what is left in them is noticed.
	Env []string

	// Dir is the working directory; empty is a fresh one.
	Dir string

	// KeepsFiles names files, by pattern (path.Match), that may be left in the
	// working and temporary directories besides *.log and what was there before.
	// After a kill -9 of a supervisor that is "*.pid" and "*.sock".
	KeepsFiles []string

	// Outlives lets processes of the command run on after it ended, as a daemon
	// does. They are told to stop when the test ends, like the command itself.
	Outlives bool
}

// Process is a command that was started. Its methods fail the test instead of
// returning errors, so they belong on the test's own goroutine.
type Process struct {
	// Dir is the working directory; Temp holds TMPDIR and XDG_RUNTIME_DIR;
	// Journals is where processes that call OpenJournal write.
	Dir, Temp, Journals string

	t       testing.TB
	command Command
	cmd     *exec.Cmd
	token   string
	began   time.Time
	output  *output
	spawner *spawn.Spawner
	exited  chan struct{}   // closed once cmd has been waited for
	before  map[string]bool // files of Dir that were there at the start
	grace   graces
}

// Start starts a command. When the test ends, all processes that descend from it
// are stopped and checked for what they leave: see the package.
func Start(t testing.TB, command Command) *Process {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("finds processes through /proc, which is Linux's")
	}
	p := &Process{
		t: t, command: command, Dir: command.Dir, Temp: t.TempDir(), Journals: t.TempDir(),
		token: fmt.Sprintf("%016x", rand.Uint64()), began: time.Now(), output: newOutput(),
		spawner: spawn.New(), exited: make(chan struct{}), grace: defaultGraces,
	}
	if p.Dir == "" {
		p.Dir = t.TempDir()
	}
	if err := p.start(); err != nil {
		p.spawner.Close()
		t.Fatalf("start %s: %v", command, err)
	}
	t.Cleanup(p.cleanup)
	return p
}

func (c Command) String() string {
	name := c.Path
	if c.Role != "" {
		name = "[" + c.Role + "]"
	}
	return strings.Join(append([]string{name}, c.Args...), " ")
}

func (p *Process) start() (err error) {
	path := p.command.Path
	env := append(os.Environ(),
		tokenVar+"="+p.token, journalVar+"="+p.Journals,
		"TMPDIR="+filepath.Join(p.Temp, "tmp"), "XDG_RUNTIME_DIR="+filepath.Join(p.Temp, "run"),
		// Else every process built with -race sleeps a second before it ends.
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	if p.command.Role != "" {
		if path == "" {
			if path, err = os.Executable(); err != nil {
				return err
			}
		}
		env = append(env, roleVar+"="+p.command.Role)
	}
	for _, dir := range []string{"tmp", "run"} {
		if err := os.Mkdir(filepath.Join(p.Temp, dir), 0o700); err != nil {
			return err
		}
	}
	if p.before, err = files(p.Dir); err != nil {
		return err
	}
	p.cmd = exec.Command(path, p.command.Args...)
	p.cmd.Dir, p.cmd.Env = p.Dir, append(env, p.command.Env...)
	stdout, err := p.output.pipe("out")
	if err != nil {
		return err
	}
	defer stdout.Close() // the child has its own
	stderr, err := p.output.pipe("err")
	if err != nil {
		return err
	}
	defer stderr.Close()
	// Files, not writers: os/exec would make Wait last as long as any descendant.
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if err := p.spawner.Start(p.cmd); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.exited)
	}()
	return nil
}

// Pid returns the process id of the command itself.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig to the command itself. One that has ended is left alone.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s to %s: %v", sig, p.command, err)
	}
}

// SignalGroup sends sig to the command and those of its descendants that are in
// its process group, as a terminal does with Ctrl-C.
func (p *Process) SignalGroup(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(-p.Pid(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Fatalf("%s to the group of %s: %v", sig, p.command, err)
	}
}

// Wait waits for the command itself to end and returns its exit code, 128 + n when
// signal n ended it. All that it wrote is in Output then.
func (p *Process) Wait() int { p.t.Helper(); return p.WaitFor(Patience) }

// WaitFor is Wait with another limit.
func (p *Process) WaitFor(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.t.Fatalf("%s still runs after %s", p.command, limit)
	}
	// Its last lines are on their way still. Descendants may keep the output open.
	select {
	case <-p.output.ended():
	case <-time.After(lastLines):
	}
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// WaitLine waits for a line of output, on either stream, that matches a regular
// expression, and returns the first. Lines that are there already count.
func (p *Process) WaitLine(pattern string) string {
	p.t.Helper()
	return p.WaitLineAfter(0, pattern)
}

// Mark returns the place the output has reached, for WaitLineAfter.
func (p *Process) Mark() int { return p.output.length() }

// WaitLineAfter is WaitLine for lines that came after Mark.
func (p *Process) WaitLineAfter(mark int, pattern string) string {
	p.t.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		p.t.Fatal(err)
	}
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	gone := p.exited
	if p.command.Outlives {
		gone = nil
	}
	for {
		text, found, changed := p.output.find(mark, re)
		if found {
			return text
		}
		select {
		case <-changed:
		case <-gone:
			gone = nil // and its last lines are on their way still
			deadline.Reset(lastLines)
		case <-deadline.C:
			p.t.Fatalf("no line of %s matches %q", p.command, pattern)
		}
	}
}

// Stdout returns what the command and its descendants have written to standard
// output so far.
func (p *Process) Stdout() string { return p.output.text("out") }

// Stderr is Stdout for standard error.
func (p *Process) Stderr() string { return p.output.text("err") }

// Output returns both streams, in the order in which lines arrived.
func (p *Process) Output() string { return p.output.text("") }
