package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/ctl"
)

// product is one supervisor with its workers, as processes.
type product struct {
	cmd    *exec.Cmd
	socket string
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	held   atomic.Bool
	stderr *os.File // our end of its stderr
}

// settings are what the product runs with; they are in the result, since the
// windows in which repeats are allowed follow from them.
const (
	commitInterval = time.Second
	sessionTimeout = 10 * time.Second
	maxPoll        = 6 * time.Second
	workerTimeout  = 6 * time.Second
	memoryLimit    = "200MiB"
	startWorkers   = 3
	restartLimit   = "-1"
)

// pidfileName is what the pidfile is called, in the run's directory.
const pidfileName = "racecar.pid"

// command is the product's command line. A script runs it as "$0" "$@".
func (r *run) command(ctx context.Context, script string) *exec.Cmd {
	m := r.schedule.Mode
	name := "Journal"
	switch {
	case m.Transactional:
		name = "JournalTx"
	case m.Batch:
		name = "JournalBatch"
	}
	logfile := filepath.Join(r.dir, "racecar.log")
	if r.schedule.LogFull {
		logfile = "/dev/full"
	}
	session := sessionTimeout
	if m.Settled { // a slot that is killed again and again is started again after up to 30 s
		session = 60 * time.Second
	}
	args := []string{
		"--brokers", strings.Join(r.cluster.Addrs(), ","), "--group-id", r.group, "--control-socket", r.socket(),
		"--pidfile", filepath.Join(r.dir, pidfileName),
		"--parallel-workers", strconv.Itoa(startWorkers), "--partition-assignment-strategy", m.Strategy, "--membership", m.Membership,
		"--heartbeat-interval", "0.5", "--session-timeout", session.String(), "--max-wait-time", "0.2",
		"--offset-commit-interval", commitInterval.String(), "--max-poll-interval", maxPoll.String(),
		"--worker-timeout", workerTimeout.String(), "--worker-boot-timeout", "20",
		"--worker-restart-limit", restartLimit, "--topic-metadata-refresh-interval", "3",
		"--pause-timeout", "0.5", "--log-format", "text", "--logfile", logfile, name,
	}
	if !r.Race { // the detector's own memory is more than any limit
		args = append([]string{"--worker-memory-limit", memoryLimit}, args...)
	}
	if m.Ordering != "" {
		args = append([]string{"--ordering", string(m.Ordering)}, args...)
	}
	if m.Membership == "host" {
		args = append([]string{"--static-id", "faults"}, args...)
	}
	cmd := exec.CommandContext(ctx, r.app, args...)
	if script != "" {
		cmd = exec.CommandContext(ctx, "sh", append([]string{"-c", script, r.app}, args...)...)
	}
	cmd.Env = append(os.Environ(),
		"JOURNAL_DIR="+r.journals, "JOURNAL_TOPICS="+r.topic, "JOURNAL_OUT="+r.out, "JOURNAL_MISCHIEF="+r.mischief,
		"JOURNAL_CONCURRENCY="+strconv.Itoa(m.Concurrency), "JOURNAL_DELAY="+r.schedule.Delay.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// socket is the control socket of the supervisor started last.
func (r *run) socket() string { return filepath.Join(r.dir, fmt.Sprintf("s%d.sock", r.starts)) }

func (r *run) start(ctx context.Context) (*product, error) {
	r.starts++
	p := &product{socket: r.socket(), ended: make(chan struct{})}
	p.cmd = r.command(context.WithoutCancel(ctx), "") // stop and kill end it
	stdout, err := os.OpenFile(filepath.Join(r.dir, "stdout"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	p.cmd.Stdout = stdout
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p.cmd.Stderr, p.stderr = theirs, ours
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go p.read(filepath.Join(r.dir, "stderr"))
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// read copies stderr to a file, but for the time in which it is held.
func (p *product) read(path string) {
	defer p.stderr.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	buf := make([]byte, 32<<10)
	for {
		for p.held.Load() {
			select {
			case <-p.ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		n, err := p.stderr.Read(buf)
		if _, werr := f.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *product) pid() int { return p.cmd.Process.Pid }

func (p *product) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// workers are the pids of the supervisor's workers, in order of their names.
func (p *product) workers() []int {
	var pids []int
	for _, child := range children(p.pid()) {
		if child.worker() {
			pids = append(pids, child.pid)
		}
	}
	return pids
}

type child struct {
	pid   int
	title string
	state byte
}

func (c child) worker() bool { return strings.HasPrefix(c.title, "racecar: ") && c.state != 'Z' }

// children are the processes whose parent is pid.
func children(pid int) []child {
	var found []child
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		_, rest, ok := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		found = append(found, child{n, strings.ReplaceAll(string(cmdline), "\x00", " "), fields[0][0]})
	}
	return found
}

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to %d: %w", sig, pid, err)
	}
	return nil
}

func (p *product) control() *ctl.Client { return ctl.NewClient(p.socket) }

// awaitGone waits for the process's end.
func (p *product) awaitGone(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("supervisor %d is still there: %w", p.pid(), ctx.Err())
	}
}

// rollingRestart asks for one over the control socket.
func (p *product) rollingRestart(ctx context.Context) error {
	c := p.control()
	defer c.Close()
	return c.Restart(ctx, "", func(ctl.Progress) {})
}
