// Package runner makes one run of a schedule of faults: a supervisor over a
// cluster of three real brokers behind proxies, a feed of numbered messages, the
// faults at their times, a stop, and the judge's verdict.
package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// Runner makes runs, one after the other, on one cluster.
type Runner struct {
	Cluster *cluster.Cluster
	App     string // the journal application's binary
	Dir     string // where each run keeps its journals and logs
	// Say is told what happens, a line each.
	Say func(string)
}

// Result is the outcome of a run.
type Result struct {
	Schedule schedule.Schedule `json:"schedule"`
	Verdict  judge.Verdict     `json:"verdict"`
	// Problems are promises broken that are not about messages: a process left, a
	// stop that took too long, a stuck group, copies missing in the output.
	Problems []string      `json:"problems,omitempty"`
	Settings string        `json:"settings"`
	Took     time.Duration `json:"took"`
	// Recovery is how long it took, after the last fault and the end of the feed,
	// until everything was processed and committed.
	Recovery time.Duration `json:"recovery"`
	Dir      string        `json:"dir"`
}

// OK reports whether every promise was kept.
func (r Result) OK() bool { return r.Verdict.OK() && len(r.Problems) == 0 }

const (
	partitions  = 12
	outputs     = 6
	rate        = 1500 // messages a second
	drainWithin = 90 * time.Second
	stopWithin  = 32 * time.Second // shutdown_timeout and the kill after it
	goneWithin  = 11 * time.Second // promise 6
)

type run struct {
	*Runner
	schedule schedule.Schedule
	cluster  *cluster.Cluster
	app      string
	dir      string
	journals string
	mischief string
	topic    string
	out      string
	group    string
	starts   int
	product  *product
	begun    time.Time

	wg       sync.WaitGroup // faults that last
	mu       sync.Mutex
	problems []string
	// disturbed are the times in which processing twice is no fault of ours.
	disturbed []window
}

type window struct{ from, to time.Time }

// Build compiles the journal application into dir.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	app := filepath.Join(dir, "journal")
	args := []string{"build", "-o", app}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/racecar-go/racecar/test/apps/journal")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the journal application: %w\n%s", err, out)
	}
	return app, nil
}

// Run makes one run. The error is about the run itself (a cluster that does not
// come up); what the product did wrong is in the result.
func (rn *Runner) Run(ctx context.Context, s schedule.Schedule) (result Result, err error) {
	id := fmt.Sprintf("%s-%d-%d", s.Mode.Name, s.Seed, time.Now().UnixNano()%1e6)
	r := &run{
		Runner: rn, schedule: s, cluster: rn.Cluster, app: rn.App, dir: filepath.Join(rn.Dir, id),
		topic: "faults-" + id, group: "group-" + id, begun: time.Now(),
	}
	r.journals, r.mischief = filepath.Join(r.dir, "journals"), filepath.Join(r.dir, "mischief")
	for _, d := range []string{r.journals, r.mischief} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return result, err
		}
	}
	if err := r.prepare(ctx); err != nil {
		return result, err
	}
	feed, err := startFeed(r.cluster.AdminAddrs(), r.topic, rate)
	if err != nil {
		return result, err
	}
	if r.product, err = r.start(); err != nil {
		return result, errors.Join(err, feed.finish())
	}
	faultErr := r.play(ctx)
	r.wg.Wait()
	faultErr = errors.Join(faultErr, r.restore(ctx), feed.finish())
	if faultErr != nil {
		return result, errors.Join(faultErr, r.kill())
	}
	drainBegan := time.Now()
	r.drain(ctx)
	recovery := time.Since(drainBegan)
	r.stop(ctx)
	verdict, err := r.judge(ctx)
	return Result{
		Schedule: s, Verdict: verdict, Problems: r.problems, Took: time.Since(r.begun), Recovery: recovery, Dir: r.dir,
		Settings: fmt.Sprintf("%d workers, worker_restart_limit %s, offset_commit_interval %v, worker_memory_limit %s", startWorkers, restartLimit, commitInterval, memoryLimit),
	}, err
}

func (r *run) prepare(ctx context.Context) error {
	if err := r.cluster.CreateTopic(ctx, r.topic, partitions, 3); err != nil {
		return err
	}
	if r.schedule.Mode.Transactional || r.schedule.Seed%2 == 0 { // half of the others copy too
		r.out = r.topic + "-out"
		return r.cluster.CreateTopic(ctx, r.out, outputs, 3)
	}
	return nil
}

func (r *run) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(fmt.Sprintf("%6.1fs ", time.Since(r.begun).Seconds()) + fmt.Sprintf(format, args...))
	}
}

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// recoverWithin is how long after a fault its consequences may show: a session
// that runs out, a worker found frozen, a coordinator that moves.
const recoverWithin = 25 * time.Second

// disturb notes that from now on, for the fault's length and what it takes to
// recover, messages may be processed again; and those since the last commit.
func (r *run) disturb(at time.Time, length time.Duration, f schedule.Fault) {
	if f.Clean() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disturbed = append(r.disturbed, window{at.Add(-commitInterval - time.Second), at.Add(length + recoverWithin)})
}

// excused: the message was first processed while something was broken.
func (r *run) excused(first, _ judge.Record) bool {
	for _, w := range r.disturbed {
		if first.End.After(w.from) && first.End.Before(w.to) {
			return true
		}
	}
	return false
}

// play lets the faults happen at their times.
func (r *run) play(ctx context.Context) error {
	for _, e := range r.schedule.Events {
		select {
		case <-time.After(time.Until(r.begun.Add(e.At))):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.say("%s #%d %v", e.Fault, e.Target, e.For.Round(100*time.Millisecond))
		r.disturb(time.Now(), e.For, e.Fault)
		if err := r.apply(ctx, e); err != nil {
			return fmt.Errorf("%v: %w", e, err)
		}
	}
	select {
	case <-time.After(time.Until(r.begun.Add(r.schedule.Length))):
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// after does something when a fault that lasts is over.
func (r *run) after(ctx context.Context, d time.Duration, what string, f func() error) {
	r.wg.Go(func() {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		if err := f(); err != nil {
			r.problem("end of %s: %v", what, err)
		}
	})
}

// restore makes the cluster whole.
func (r *run) restore(ctx context.Context) error {
	var errs []error
	for _, b := range r.cluster.Brokers() {
		switch b.State() {
		case cluster.Paused:
			errs = append(errs, b.Continue())
		case cluster.Running:
		default:
			errs = append(errs, b.Restart(ctx))
		}
		errs = append(errs, b.Restore())
	}
	return errors.Join(errs...)
}

// drain waits until everything produced is committed, which takes all of it to
// have been processed.
func (r *run) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		lag, err := r.lag()
		if err == nil && lag == 0 {
			return
		}
		behind := fmt.Sprintf("%d messages not committed", lag)
		if err != nil {
			behind = err.Error()
		}
		if r.product.gone() {
			r.problem("the supervisor ended by itself: %v", r.product.err)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.problem("stuck %v after the last fault: %s", drainWithin, behind)
			return
		}
	}
}

// admin talks to the brokers directly, past the proxies.
func (r *run) admin(f func(sarama.ClusterAdmin, sarama.Client) error) error {
	conf := sarama.NewConfig()
	conf.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(r.cluster.AdminAddrs(), conf)
	if err != nil {
		return err
	}
	a, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	defer a.Close() // and the client
	return f(a, client)
}

// committed are the group's offsets, ends those of the logs.
func (r *run) committed() (committed, ends map[judge.Partition]int64, err error) {
	committed, ends = map[judge.Partition]int64{}, map[judge.Partition]int64{}
	err = r.admin(func(a sarama.ClusterAdmin, c sarama.Client) error {
		ids, err := c.Partitions(r.topic)
		if err != nil {
			return err
		}
		got, err := a.ListConsumerGroupOffsets(r.group, map[string][]int32{r.topic: ids})
		if err != nil {
			return err
		}
		for _, id := range ids {
			p := judge.Partition{Topic: r.topic, Partition: id}
			if ends[p], err = c.GetOffset(r.topic, id, sarama.OffsetNewest); err != nil {
				return err
			}
			block := got.GetBlock(r.topic, id)
			if block == nil || block.Err != sarama.ErrNoError {
				return fmt.Errorf("offset of %s: no answer", p)
			}
			if block.Offset >= 0 {
				committed[p] = block.Offset
			}
		}
		return nil
	})
	return committed, ends, err
}

func (r *run) lag() (int64, error) {
	committed, ends, err := r.committed()
	var lag int64
	for p, end := range ends {
		lag += end - committed[p]
	}
	return lag, err
}

// stop ends the product, in order or by force, and looks for what it left.
func (r *run) stop(ctx context.Context) {
	p := r.product
	r.zombies()
	began := time.Now()
	if err := signal(p.pid(), syscall.SIGTERM); err != nil {
		r.problem("stop: %v", err)
	}
	if r.schedule.Forced {
		if err := signal(p.pid(), syscall.SIGTERM); err != nil {
			r.problem("stop: %v", err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := p.awaitGone(limited); err != nil {
		r.problem("%v after TERM: %v", time.Since(began).Round(time.Second), err)
		if err := r.kill(); err != nil {
			r.problem("kill: %v", err)
		}
	} else if code := p.cmd.ProcessState.ExitCode(); code != 0 && !r.schedule.Forced {
		r.problem("exit code %d after TERM", code)
	}
	r.orphans(ctx)
	if leftovers, err := filepath.Glob(filepath.Join(r.dir, fmt.Sprintf("s%d.sock", r.starts))); err != nil || len(leftovers) > 0 {
		r.problem("control socket left behind: %v %v", leftovers, err)
	}
}

// zombies are children that have ended and that nobody waits for.
func (r *run) zombies() {
	for try := 0; ; try++ {
		var dead []string
		for _, c := range children(r.product.pid()) {
			if c.state == 'Z' {
				dead = append(dead, strconv.Itoa(c.pid))
			}
		}
		if len(dead) == 0 {
			return
		}
		if try == 20 {
			r.problem("zombies: %s", strings.Join(dead, " "))
			return
		}
		<-time.After(100 * time.Millisecond) // reaping takes a moment
	}
}

// orphans waits until no process of this run is left.
func (r *run) orphans(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for {
		left := r.processes()
		if len(left) == 0 {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			r.problem("processes %v left %v after the supervisor's end", left, goneWithin)
			for _, pid := range left {
				_ = signal(pid, syscall.SIGKILL)
			}
			return
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

// kill ends everything of this run at once.
func (r *run) kill() error {
	var errs []error
	for _, pid := range r.processes() {
		errs = append(errs, signal(pid, syscall.SIGKILL))
	}
	if r.product != nil {
		<-r.product.ended
	}
	return errors.Join(errs...)
}

// judge reads everything back and weighs it.
func (r *run) judge(ctx context.Context) (judge.Verdict, error) {
	records, err := judge.ReadDir(r.journals)
	if err != nil {
		return judge.Verdict{}, err
	}
	input, err := readTopic(ctx, r.cluster.AdminAddrs(), r.topic)
	if err != nil {
		return judge.Verdict{}, err
	}
	e := judge.Evidence{Produced: map[judge.Partition][]int64{}, Processed: records}
	for p, messages := range input {
		for _, m := range messages {
			e.Produced[p] = append(e.Produced[p], m.offset)
		}
	}
	if e.Committed, _, err = r.committed(); err != nil {
		return judge.Verdict{}, err
	}
	e.Excused = r.excused
	if r.schedule.Mode.Transactional {
		// The journal is no part of the transaction; the copies are.
		e.Excused = func(_, _ judge.Record) bool { return true }
	}
	if r.out != "" {
		if err := r.judgeCopies(ctx, e.Produced); err != nil {
			return judge.Verdict{}, err
		}
	}
	return judge.Judge(e), nil
}

func (r *run) judgeCopies(ctx context.Context, produced map[judge.Partition][]int64) error {
	output, err := readTopic(ctx, r.cluster.AdminAddrs(), r.out)
	if err != nil {
		return err
	}
	var copies [][]judge.Copy
	for _, messages := range output {
		var in []judge.Copy
		for _, m := range messages {
			c, err := parseOrigin(m.origin)
			if err != nil {
				return err
			}
			in = append(in, c)
		}
		copies = append(copies, in)
	}
	findings := judge.Copies(produced, copies, r.schedule.Mode.Transactional)
	for i, f := range findings {
		if i == 10 {
			r.problem("… and %d more about copies", len(findings)-i)
			break
		}
		r.problem("%s", f)
	}
	return nil
}

func parseOrigin(s string) (judge.Copy, error) {
	f := strings.Split(s, "/")
	if len(f) != 3 {
		return judge.Copy{}, fmt.Errorf("origin %q", s)
	}
	p, err := strconv.ParseInt(f[1], 10, 32)
	if err != nil {
		return judge.Copy{}, fmt.Errorf("origin %q: %w", s, err)
	}
	o, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return judge.Copy{}, fmt.Errorf("origin %q: %w", s, err)
	}
	return judge.Copy{From: judge.Partition{Topic: f[0], Partition: int32(p)}, Offset: o}, nil
}

// random is for what need not be repeated exactly, as the lengths of cuts.
func random(from, to time.Duration) time.Duration {
	return from + time.Duration(rand.Int64N(int64(to-from)))
}
