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
	"strings"
	"sync"
	"sync/atomic"
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
	Rate    int    // messages a second
	Race    bool   // App is built with the race detector: it has no memory limit
	// Say is told what happens, a line each; Live, once a second, how it stands.
	Say, Live func(string)
}

// Result is the outcome of a run.
type Result struct {
	Schedule schedule.Schedule `json:"schedule"`
	Verdict  judge.Verdict     `json:"verdict"`
	// Problems are promises broken that are not about messages: a process left, a
	// stop that took too long, a stuck group, copies missing in the output.
	Problems []string        `json:"problems,omitempty"`
	Left     judge.Leftovers `json:"left"`
	Settings string          `json:"settings"`
	At       time.Time       `json:"at"`
	Took     time.Duration   `json:"took"`
	Dir      string          `json:"dir,omitempty"`
}

// OK reports whether every promise was kept.
func (r Result) OK() bool { return r.Verdict.OK() && len(r.Problems) == 0 }

const (
	partitions  = 12
	outputs     = 6
	slowRate    = 400 // messages a second, where each takes its time
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
	running  atomic.Pointer[product]
	begun    time.Time

	wg       sync.WaitGroup // faults that last
	mu       sync.Mutex
	problems []string
	windows  []window
	// unfinished: nobody is there to process the rest, which is not lost for that.
	unfinished bool
	left       judge.Leftovers
	commits    map[judge.Partition][]judge.Commit // as observed; the observer's until it has ended
	settled    int32                              // the group's generation when the first fault came
	fed        *feed
	now        []schedule.Event // what lasts and is not over; guarded by mu
}

// product is the supervisor started last.
func (r *run) product() *product { return r.running.Load() }

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
	for _, d := range []string{r.journals, filepath.Join(r.mischief, "done")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return result, err
		}
	}
	if err := r.prepare(ctx); err != nil {
		return result, err
	}
	if s.PidfileFull {
		if err := r.refusePidfile(ctx); err != nil {
			return result, errors.Join(err, r.kill())
		}
	}
	rate := rn.Rate
	if s.Delay > 0 {
		rate = min(rate, slowRate)
	}
	keys := ownKeys
	if s.Mode.Ordering != "" {
		keys = fewKeys
	}
	if r.fed, err = startFeed(r.cluster.AdminAddrs(), r.topic, rate, keys); err != nil {
		return result, err
	}
	first, err := r.start(ctx)
	if err != nil {
		return result, errors.Join(err, r.fed.finish())
	}
	r.running.Store(first)
	if s.Mode.Settled {
		r.settle(ctx)
	}
	r.begun = time.Now()
	live := r.watch(ctx)
	defer live()
	observed := func() {}
	if s.Mode.Ordering != "" {
		observed = r.observeCommits(ctx)
	}
	defer observed()
	faultErr := r.play(ctx)
	r.wg.Wait()
	faultErr = errors.Join(faultErr, r.restore(ctx), r.fed.finish(), r.excuseFatal())
	if faultErr != nil {
		return result, errors.Join(faultErr, r.kill())
	}
	drainBegan := time.Now()
	r.drain(ctx)
	recovery := time.Since(drainBegan)
	if g := r.generation(ctx); g > 0 && r.settled > 0 {
		r.left.Rebalances = int(g - r.settled)
	}
	r.takeStock(ctx)
	live()
	r.stop(ctx)
	observed()
	if err := r.confessions(); err != nil {
		return result, err
	}
	verdict, err := r.judge(ctx)
	left := r.aftermath(recovery)
	return Result{
		Schedule: s, Verdict: verdict, Problems: append(r.problems, left.Findings()...), Left: left, At: r.begun, Took: time.Since(r.begun), Dir: r.dir,
		Settings: fmt.Sprintf("%d workers, %d messages/s, worker_restart_limit %s, offset_commit_interval %v, worker_memory_limit %s",
			startWorkers, rate, restartLimit, commitInterval, memoryLimit),
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

// play lets the faults happen at their times.
func (r *run) play(ctx context.Context) error {
	for _, e := range r.schedule.Events {
		select {
		case <-time.After(time.Until(r.begun.Add(e.At))):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.say("%s", strings.TrimSpace(strings.SplitAfterN(e.String(), "s ", 2)[1]))
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
func (r *run) after(ctx context.Context, e schedule.Event, f func() error) {
	r.lasting(e, true)
	r.wg.Go(func() {
		defer r.lasting(e, false)
		select {
		case <-time.After(e.For):
		case <-ctx.Done():
		}
		if err := f(); err != nil {
			r.problem("end of %s: %v", e.Fault, err)
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
		if r.product().gone() {
			r.problem("the supervisor ended by itself: %v", r.product().err)
			r.unfinished = true
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
	p := r.product()
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
	r.orphans(ctx, r.processes())
	r.files()
}

// kill ends everything of this run at once.
func (r *run) kill() error {
	var errs []error
	for _, pid := range r.processes() {
		errs = append(errs, signal(pid, syscall.SIGKILL))
	}
	if r.product() != nil {
		<-r.product().ended
	}
	return errors.Join(errs...)
}

// random is for what need not be repeated exactly, as the lengths of cuts.
func random(from, to time.Duration) time.Duration {
	return from + time.Duration(rand.Int64N(int64(to-from)))
}
