package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/test/judge"
)

// What a supervisor and its workers may hold at the end of a run, when all is
// quiet. Measured without faults: the supervisor has 10 descriptors and 4 for each
// worker, a worker 8 to 12 connections.
const (
	fdsOfSupervisor = 16
	fdsPerWorker    = 5
	socketsOfWorker = 24
	// A transactional producer of each partition has a coordinator and leaders.
	socketsOfPartition = 5
)

// takeStock looks at the product in peace, before it is stopped. What is closed in
// the background gets some seconds for it.
func (r *run) takeStock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		r.left.Zombies, r.left.FDs, r.left.Sockets = nil, 0, 0
		pid, workers := r.product().pid(), 0
		for _, c := range children(pid) {
			if c.state == 'Z' {
				r.left.Zombies = append(r.left.Zombies, strconv.Itoa(c.pid))
			}
			if c.worker() {
				workers++
				_, sockets := descriptors(c.pid)
				r.left.Sockets = max(r.left.Sockets, sockets)
			}
		}
		r.left.FDs, _ = descriptors(pid)
		r.left.FDsAllowed, r.left.SocketsAllowed = fdsOfSupervisor+fdsPerWorker*workers, socketsOfWorker
		if m := r.schedule.Mode; m.Transactional && m.Concurrency > 1 {
			r.left.SocketsAllowed += socketsOfPartition * (partitions + 3)
		}
		if len(r.left.Findings()) == 0 {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// descriptors counts what a process has open, and how many of those are sockets.
func descriptors(pid int) (all, sockets int) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0 // it has ended
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			sockets++
		}
	}
	return len(entries), sockets
}

// orphans waits until these processes are gone.
func (r *run) orphans(ctx context.Context, pids []int) {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for {
		left := slices.DeleteFunc(r.processes(), func(pid int) bool { return !slices.Contains(pids, pid) })
		if len(left) == 0 {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, pid := range left {
				r.left.Orphans = append(r.left.Orphans, strconv.Itoa(pid))
				_ = signal(pid, syscall.SIGKILL)
			}
			return
		}
	}
}

// files looks for files that a gracefully stopped supervisor should have removed.
func (r *run) files() {
	for _, name := range []string{filepath.Base(r.product().socket), pidfileName} {
		if _, err := os.Lstat(filepath.Join(r.dir, name)); err == nil {
			r.left.Files = append(r.left.Files, name)
		}
	}
}

// processes are the pids of all that descends from this run's supervisors, found
// by a variable in their environment.
func (r *run) processes() []int {
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && strings.Contains(string(env), "JOURNAL_DIR="+r.journals) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// confessions looks in what the product wrote for bugs that it or the Go runtime
// has noticed itself: data races (of a build with --race), panics nobody asked for.
func (r *run) confessions() error {
	for _, name := range []string{"stderr", "racecar.log"} {
		b, err := os.ReadFile(filepath.Join(r.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			bad := strings.Contains(line, "DATA RACE") || strings.Contains(line, "internal error") || strings.Contains(line, "fatal error: ") ||
				strings.Contains(line, "panic: ") && !strings.Contains(line, "told to panic")
			if bad {
				r.problem("%s: %s", name, strings.TrimSpace(line[:min(len(line), 300)]))
				break
			}
		}
	}
	return nil
}

// settle waits until all workers run, in the same generation for some seconds.
func (r *run) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	since := time.Now()
	for r.settled == 0 || time.Since(since) < 4*time.Second {
		if g := r.generation(ctx); g != r.settled {
			r.settled, since = g, time.Now()
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			r.problem("the group did not come to rest before the first fault")
			return
		}
	}
}

// generation is that of the group, as the workers know it; 0 when none answers.
func (r *run) generation(ctx context.Context) int32 {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c := r.product().control()
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return 0
	}
	var highest int32
	for _, w := range s.Workers {
		for _, p := range w.Members {
			highest = max(highest, p.Generation)
		}
	}
	return highest
}

// refusePidfile starts the product with a pidfile that cannot be written, as on a
// full disk: that must fail at once with one line, and leave no file behind.
func (r *run) refusePidfile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	out, err := r.command(ctx, `ulimit -f 0; exec "$0" "$@"`).CombinedOutput()
	if err == nil {
		r.problem("a supervisor that could not write its pidfile ended with 0")
	}
	var crashes []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "=> Crashed: ") { // the others are the banner
			crashes = append(crashes, line)
		}
	}
	if len(crashes) != 1 || !strings.Contains(crashes[0], pidfileName) {
		r.problem("a pidfile that cannot be written was reported as %q", out)
	}
	if _, err := os.Lstat(filepath.Join(r.dir, pidfileName)); err == nil {
		r.problem("a pidfile that could not be written was left behind")
	}
	if left := r.processes(); len(left) > 0 {
		return fmt.Errorf("processes %v were started without a pidfile", left)
	}
	return nil
}

// aftermath fills in what the judge is to weigh besides messages.
func (r *run) aftermath(recovery time.Duration) judge.Leftovers {
	r.left.Recovery, r.left.RecoveryAllowed = recovery, drainWithin
	r.left.RebalancesAllowed = -1
	if r.schedule.Mode.Settled {
		r.left.RebalancesAllowed = 0
	}
	return r.left
}
