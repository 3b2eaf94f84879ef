package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/bench/board"
	"github.com/racecar-go/racecar/test/harness"
)

// process is a running contestant.
type process struct {
	cmd   *exec.Cmd
	task  board.Task
	board *board.Board
	log   string
	began time.Time
	most  usage         // the highest readings so far
	ended chan struct{} // closed once the process has been waited for
	err   error         // how it ended
}

// start starts an entrant with a new board and directory.
func (b *bench) start(e entrant, task board.Task, args ...string) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, e.contestant+"-")
	if err != nil {
		return nil, err
	}
	task.Mode, task.Path, task.Brokers = e.mode, filepath.Join(dir, "board"), b.addrs
	p := &process{task: task, log: filepath.Join(dir, "output"), ended: make(chan struct{})}
	if p.board, err = board.Open(task.Path); err != nil {
		return nil, err
	}
	c := contestantNamed(e.contestant)
	if c.args != nil {
		args = append(c.args(task, e), args...)
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(b.binaries[e.contestant], args...)
	p.cmd.Env = append(append(os.Environ(), task.Env()...), "BENCH_PROFILE="+b.opts.profile)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	// Ctrl-C reaches the benchmark alone, which stops them. And racecar's workers have sessions of
	// their own, among which Linux divides processor time (autogroups): so the others get one too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop stops the process gracefully and returns how long that took.
func (p *process) stop() (time.Duration, error) {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return 0, fmt.Errorf("%s did not end within 40 s of TERM\n%s", p.cmd.Path, p.tail())
	}
	took := time.Since(began)
	if p.err != nil {
		return took, fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, p.tail())
	}
	return took, nil
}

// close stops the process if necessary and removes its files.
func (p *process) close() {
	select {
	case <-p.ended:
	default:
		_, _ = p.stop() // the error that matters has been returned
	}
	_ = p.board.Close()
	_ = os.RemoveAll(filepath.Dir(p.task.Path)) // the parent directory is removed at the end
}

// tail returns the end of the process's output.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// until waits for a condition, which it checks every millisecond. It returns an error if nothing
// changes for a minute.
func (p *process) until(ctx context.Context, what string, progress func() (state uint64, done bool)) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last, at := uint64(0), time.Now()
	for {
		state, done := progress()
		if done {
			return nil
		}
		if now := time.Now(); state != last {
			last, at = state, now
		} else if now.Sub(at) > time.Minute {
			return fmt.Errorf("%s: nothing has happened for a minute (at %d)\n%s", what, state, p.tail())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			if _, done := progress(); done && p.err == nil {
				return nil
			}
			return fmt.Errorf("%s: it has ended (%w)\n%s", what, errors.Join(p.err), p.tail())
		}
	}
}

// tree returns the process and its descendants.
func (p *process) tree() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i])) // the pattern is good
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				continue // the thread has ended
			}
			for field := range bytes.FieldsSeq(data) {
				if pid, err := strconv.Atoi(string(field)); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// usage has the resources that a tree of processes has used.
type usage struct {
	at              time.Time
	cpu             time.Duration
	objects, bytes  uint64
	peak, peakOfOne int64 // bytes
}

// use reads the usage. Processes that have ended meanwhile still count.
func (p *process) use() usage {
	u := usage{at: time.Now()}
	u.objects, u.bytes = p.board.Allocated()
	for _, pid := range p.tree() {
		cpu, err := harness.CPU(pid)
		if err != nil {
			continue // it has just ended
		}
		u.cpu += cpu
		rss := highWater(pid)
		u.peak += rss
		u.peakOfOne = max(u.peakOfOne, rss)
	}
	u.cpu, u.peak, u.peakOfOne = max(u.cpu, p.most.cpu), max(u.peak, p.most.peak), max(u.peakOfOne, p.most.peakOfOne)
	p.most = u
	return u
}

// pss returns the tree's current memory, in bytes.
func (p *process) pss() (sum int64) {
	for _, pid := range p.tree() {
		if n, err := harness.PSS(pid); err == nil {
			sum += n
		}
	}
	return sum
}

// highWater returns the peak resident size of a process, in bytes.
func highWater(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
