package harness

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// graces say how long processes may take to end once the test is over.
type graces struct {
	term   time.Duration // after SIGTERM
	quit   time.Duration // after SIGQUIT, for stacks to be written, and after SIGKILL
	orphan time.Duration // for descendants, after the command itself
	read   time.Duration // for the output to end, after the last process
}

// defaultGraces leave more than the 25 s of shutdown_timeout and the 10 s in which
// workers follow their supervisor: who keeps these promises is never killed.
var defaultGraces = graces{term: 40 * time.Second, quit: 5 * time.Second, orphan: 15 * time.Second, read: 5 * time.Second}

// cleanup ends what still runs, fails the test for what should not be there, and
// shows the output if it has failed.
func (p *Process) cleanup() {
	defer p.spawner.Close()
	t := p.t
	p.endCommand()
	p.endDescendants()

	select {
	case <-p.output.ended():
	case <-time.After(p.grace.read):
		t.Errorf("%s: its output is still open %s after its last process ended", p.command, p.grace.read)
	}
	if strings.Contains(p.Output(), "WARNING: DATA RACE") {
		t.Errorf("%s: data race", p.command)
	}
	for _, file := range p.leftovers() {
		t.Errorf("%s left %s", p.command, file)
	}
	if t.Failed() {
		t.Logf("output of %s\n%s", p.command, p.output.report(p.began, 400))
		p.logFiles()
	}
}

// endCommand escalates until the command itself is gone.
func (p *Process) endCommand() {
	for _, step := range []struct {
		sig   syscall.Signal
		grace time.Duration
	}{{syscall.SIGTERM, p.grace.term}, {syscall.SIGQUIT, p.grace.quit}, {syscall.SIGKILL, p.grace.quit}} {
		select {
		case <-p.exited:
			return
		default:
		}
		if step.sig != syscall.SIGTERM {
			p.t.Errorf("%s (pid %d) did not end and gets %s", p.command, p.Pid(), step.sig)
		}
		err := p.cmd.Process.Signal(step.sig)
		if step.sig == syscall.SIGTERM && err == nil {
			err = p.cmd.Process.Signal(syscall.SIGCONT) // a stopped one would not hear it
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Errorf("end %s: %v", p.command, err)
		}
		select {
		case <-p.exited:
			return
		case <-time.After(step.grace):
		}
	}
}

// endDescendants waits for all others, and kills those that stay.
func (p *Process) endDescendants() {
	// The eldest first: a daemon stops its own workers.
	if procs := p.Processes(); p.command.Outlives && len(procs) > 0 {
		if err := syscall.Kill(procs[0].Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.t.Errorf("end %s: %v", procs[0], err)
		}
	}
	grace := p.grace.orphan
	if p.command.Outlives {
		grace = p.grace.term
	}
	left := p.awaitGone(grace)
	for _, o := range left {
		p.t.Errorf("%s is over, but not its descendant %s", p.command, o)
		if err := syscall.Kill(o.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.t.Errorf("kill %s: %v", o, err)
		}
	}
	for _, o := range p.awaitGone(p.grace.quit) {
		p.t.Errorf("killed, but not gone: %s", o)
	}
}

// awaitGone returns what still runs at the end of grace, nothing as soon as
// nothing does.
func (p *Process) awaitGone(grace time.Duration) []Proc {
	deadline := time.After(grace)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := p.Processes()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-deadline:
			return left
		case <-tick.C:
		}
	}
}

// leftovers returns the files that nobody removed and nobody may leave.
func (p *Process) leftovers() []string {
	var left []string
	for _, dir := range []string{p.Dir, p.Temp} {
		found, err := files(dir)
		if err != nil {
			p.t.Errorf("look for leftovers: %v", err)
			continue
		}
		for _, file := range slices.Sorted(maps.Keys(found)) {
			if p.before[file] || p.mayStay(filepath.Base(file)) {
				continue
			}
			left = append(left, file)
		}
	}
	return left
}

func (p *Process) mayStay(name string) bool {
	for _, pattern := range append([]string{"*.log"}, p.command.KeepsFiles...) {
		if ok, err := path.Match(pattern, name); err != nil {
			p.t.Errorf("KeepsFiles %q: %v", pattern, err)
		} else if ok {
			return true
		}
	}
	return false
}

// files returns everything below dir that is no directory.
func files(dir string) (map[string]bool, error) {
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found[file] = true
		}
		return err
	})
	return found, err
}

// logFiles shows the log files of the working directory: daemons write there.
func (p *Process) logFiles() {
	logs, err := filepath.Glob(filepath.Join(p.Dir, "*.log"))
	if err != nil {
		p.t.Error(err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			p.t.Error(err)
			continue
		}
		lines := strings.SplitAfter(string(text), "\n")
		p.t.Logf("end of %s\n%s", file, strings.Join(lines[max(0, len(lines)-200):], ""))
	}
}
