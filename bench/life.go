package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/bench/board"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// life has the rows about processes rather than messages.
func life() []*row {
	sticky := []string{"--partition-assignment-strategy", "cooperative-sticky"}
	workers := func(n int, label string, flags ...string) entrant {
		return entrant{contestant: "racecar", mode: "process", label: label, workers: n, flags: flags}
	}
	small := topic{size: 200, partitions: 10}
	return []*row{
		{
			name: "idle", what: "workers with nothing to do: start until all run, size, stop", topic: small, run: idle, main: took, interval: 5 * time.Second,
			who: []entrant{workers(1, "1 worker"), workers(5, "5 workers"), workers(5, "5, sticky", sticky...)},
			targets: []target{
				{of: "5 workers", metric: took, factor: 2}, {of: "5, sticky", metric: took, factor: 2},
				{of: "5 workers", metric: stopTook, factor: 1}, {of: "5 workers", metric: pss, factor: 70},
				{of: "5 workers", metric: boss, factor: 12}, {of: "5 workers", metric: bossCPU, factor: 0.5},
			},
		},
		{
			name: "load", what: "size of the whole at full speed (PSS), 200 bytes, 10 partitions", topic: small, run: loaded, main: pss,
			who:     []entrant{workers(1, "1 worker"), workers(5, "5 workers")},
			targets: []target{{of: "5 workers", than: "1 worker", metric: pss, factor: 2}},
		},
		{
			name: "load-20000", what: "size of the whole at 20,000 messages a second (PSS), 10 partitions", topic: topic{partitions: 10},
			rate: 20_000, interval: 5 * time.Second, run: paced, main: pss, who: []entrant{workers(1, "1 worker"), workers(5, "5 workers")},
			targets: []target{{of: "5 workers", metric: pss, factor: 75}},
		},
		{
			name: "idle-1000", what: "a worker with 1000 partitions and nothing to do", topic: topic{partitions: 1000}, run: idle, main: pss, interval: 5 * time.Second,
			who: []entrant{workers(1, "1 worker")},
		},
		{
			name: "stalled", what: "a worker whose calls do not return, 200 bytes, 1000 partitions", topic: topic{size: 200, partitions: 1000}, run: stalled, main: worker,
			who: stalledWorkers(),
		},
		{
			name: "kill", what: "kill -9 of one of 3 workers at 10,000 messages a second, until its partitions go on", topic: topic{partitions: 9},
			rate: 10_000, run: killed, main: took, who: []entrant{workers(3, "range"), workers(3, "sticky", sticky...)},
			targets: []target{{of: "range", metric: took, factor: 2}, {of: "sticky", metric: took, factor: 2}},
		},
		{
			name: "rebalance", what: "scaling from 3 workers to 4 at 10,000 messages a second, until all 4 process", topic: topic{partitions: 12},
			rate: 10_000, run: scaled, main: took, who: []entrant{workers(3, "range"), workers(3, "sticky", sticky...)},
		},
		{
			name: "restart", what: "rolling restart of 3 workers at 10,000 messages a second", topic: topic{partitions: 9},
			rate: 10_000, run: rolled, main: took, who: []entrant{workers(3, "range"), workers(3, "sticky", sticky...)},
		},
		{
			name: "commands", what: "exec to exit of short commands", run: command, main: took,
			who: []entrant{
				{contestant: "racecar", label: "--help", flags: []string{"--help"}},
				{contestant: "racecar", label: "liveness_probe", flags: []string{"liveness_probe"}},
			},
		},
	}
}

// up starts workers, waits until all are running, and returns how long that took.
func (b *bench) up(ctx context.Context, e entrant, task board.Task) (*process, *ctl.Client, time.Duration, error) {
	p, err := b.start(e, task)
	if err != nil {
		return nil, nil, 0, err
	}
	client := ctl.NewClient(socketOf(p.task))
	if err := p.await(ctx, client, e.workers); err != nil {
		p.close()
		return nil, nil, 0, err
	}
	return p, client, time.Since(p.began), nil
}

// await waits until n workers are running.
func (p *process) await(ctx context.Context, client *ctl.Client, workers int) error {
	last := time.Time{}
	return p.until(ctx, "workers running", func() (uint64, bool) {
		if time.Since(last) < 10*time.Millisecond {
			return 0, false
		}
		last = time.Now()
		st, err := client.Status(ctx)
		if err != nil {
			return 0, false // the supervisor does not answer yet
		}
		running := 0
		for _, w := range st.Workers {
			if w.State == status.Running {
				running++
			}
		}
		return uint64(running), running == workers
	})
}

// idle measures a start, the memory without work, and a stop.
func idle(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	in, remove, err := b.fresh(ctx, r.topic.partitions)
	if err != nil {
		return nil, err
	}
	defer remove()
	p, client, started, err := b.up(ctx, e, board.Task{Topic: in, Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		return nil, err
	}
	defer p.close()
	defer client.Close()
	s := sample{took.key: started.Seconds()}
	if err := sleep(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	supervisor := p.cmd.Process.Pid
	before, err := harness.CPU(supervisor)
	if err != nil {
		return nil, err
	}
	all := p.use()
	if err := sleep(ctx, r.interval); err != nil {
		return nil, err
	}
	after, err := harness.CPU(supervisor)
	if err != nil {
		return nil, err
	}
	s[shareCPU.key] = 100 * (p.use().cpu - all.cpu).Seconds() / r.interval.Seconds()
	own, err := harness.PSS(supervisor)
	if err != nil {
		return nil, err
	}
	s[pss.key], s[boss.key] = float64(p.pss())/mib, float64(own)/mib
	s[bossCPU.key] = 100 * (after - before).Seconds() / r.interval.Seconds()
	stopped, err := p.stop()
	s[stopTook.key] = stopped.Seconds()
	return s, err
}

// loaded measures the peak memory of all processes under load.
func loaded(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	n, err := b.fill(ctx, r, e)
	if err != nil {
		return nil, err
	}
	p, err := b.start(e, board.Task{Topic: b.topicName(r, e), Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		return nil, err
	}
	defer p.close()
	s := sample{}
	from, before, err := p.begun(ctx, s)
	if err != nil {
		return nil, err
	}
	most, last := int64(0), time.Time{}
	err = p.until(ctx, "all messages", func() (uint64, bool) {
		if time.Since(last) > 50*time.Millisecond {
			most, last = max(most, p.pss()), time.Now()
		}
		return p.counted(n)()
	})
	if err != nil {
		return nil, err
	}
	between(s, from, p.use(), n-before)
	s[pss.key] = float64(most) / mib
	_, err = p.stop()
	return s, err
}

// stalledWorkers are of both kinds of calls, with and without compression.
func stalledWorkers() (who []entrant) {
	for _, mode := range []string{"stall", "stall-batch"} {
		for _, codec := range []string{"", "zstd"} {
			t := topic{size: 200, partitions: 1000, codec: codec}
			label := map[string]string{"stall": "Process", "stall-batch": "ProcessBatch"}[mode]
			if codec != "" {
				label += ", " + codec
			}
			who = append(who, entrant{contestant: "racecar", mode: mode, label: label, topic: t})
		}
	}
	return who
}

// stalled measures what a worker holds of a backlog that it does not process.
func stalled(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	if _, err := b.fill(ctx, r, e); err != nil {
		return nil, err
	}
	e.workers = 1
	p, client, _, err := b.up(ctx, e, board.Task{Topic: b.topicName(r, e), Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		return nil, err
	}
	defer p.close()
	defer client.Close()
	most, since := usage{}, time.Now()
	err = p.until(ctx, "memory that does not grow", func() (uint64, bool) {
		if u := p.use(); u.peakOfOne > most.peakOfOne || most.at.IsZero() {
			most, since = u, time.Now()
		}
		return uint64(most.peakOfOne), time.Since(since) > 3*time.Second
	})
	if err != nil {
		return nil, err
	}
	s := sample{worker.key: float64(most.peakOfOne) / mib, pss.key: float64(p.pss()) / mib}
	for _, pid := range p.tree() { // a graceful shutdown would wait for the calls
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, err
		}
	}
	<-p.ended
	return s, nil
}

// paced measures the memory of all processes at a steady rate.
func paced(ctx context.Context, b *bench, r *row, e entrant) (_ sample, err error) {
	p, _, end, err := b.flowing(ctx, r, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	most, from, before := int64(0), p.use(), p.board.Sum(r.topic.partitions)
	last, until := time.Time{}, time.Now().Add(r.interval)
	err = p.until(ctx, "the end", func() (uint64, bool) {
		if time.Since(last) > 50*time.Millisecond {
			most, last = max(most, p.pss()), time.Now()
		}
		return p.board.Sum(r.topic.partitions), time.Now().After(until)
	})
	if err != nil {
		return nil, err
	}
	s := sample{}
	between(s, from, p.use(), p.board.Sum(r.topic.partitions)-before)
	s[pss.key] = float64(most) / mib
	return s, nil
}

// flowing is up with a flow of messages; it returns once all partitions are processed.
func (b *bench) flowing(ctx context.Context, r *row, e entrant) (p *process, client *ctl.Client, end func() error, err error) {
	in, remove, err := b.fresh(ctx, r.topic.partitions)
	if err != nil {
		return nil, nil, nil, err
	}
	p, client, _, err = b.up(ctx, e, board.Task{Topic: in, Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	f, err := b.flow(ctx, in, r.topic.partitions, r.rate)
	if err == nil {
		err = p.until(ctx, "all partitions at work", func() (uint64, bool) {
			for n := range r.topic.partitions {
				if p.board.Counted(n) == 0 {
					return p.board.Sum(r.topic.partitions), false
				}
			}
			return 0, true
		})
	}
	end = func() error {
		defer remove()
		defer p.close()
		defer client.Close()
		if f == nil {
			return nil
		}
		_, stopErr := p.stop()
		return errors.Join(f.stop(), stopErr)
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, end())
	}
	return p, client, end, sleep(ctx, time.Second)
}

// pauses measures how long each partition goes without a message.
type pauses struct {
	p      *process
	counts []uint64
	at     []time.Time
	most   []time.Duration
}

func (p *process) pauses() *pauses {
	n := p.task.Partition
	u := &pauses{p: p, counts: make([]uint64, n), at: make([]time.Time, n), most: make([]time.Duration, n)}
	for i := range n {
		u.counts[i], u.at[i] = p.board.Counted(i), time.Now()
	}
	return u
}

// observe records which partitions have moved, and returns the sum of all counts.
func (u *pauses) observe() (sum uint64) {
	for i := range u.counts {
		now, n := time.Now(), u.p.board.Counted(i)
		sum += n
		u.most[i] = max(u.most[i], now.Sub(u.at[i]))
		if n != u.counts[i] {
			u.counts[i], u.at[i] = n, now
		}
	}
	return sum
}

// killed kills a worker and measures how long its partitions stand still.
func killed(ctx context.Context, b *bench, r *row, e entrant) (_ sample, err error) {
	p, _, end, err := b.flowing(ctx, r, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	victim := p.board.Owner(0)
	var its []int
	for i := range r.topic.partitions {
		if p.board.Owner(i) == victim {
			its = append(its, i)
		}
	}
	u := p.pauses()
	began := time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return nil, fmt.Errorf("kill the worker: %w", err)
	}
	s := sample{}
	if err := p.until(ctx, "its partitions go on", func() (uint64, bool) {
		sum := u.observe()
		return sum, !slices.ContainsFunc(its, func(i int) bool { return p.board.Owner(i) == victim })
	}); err != nil {
		return nil, err
	}
	s[took.key] = time.Since(began).Seconds()
	// If there is a rebalance, it follows only now.
	until := time.Now().Add(2 * time.Second)
	if err := p.until(ctx, "two seconds more", func() (uint64, bool) { return u.observe(), time.Now().After(until) }); err != nil {
		return nil, err
	}
	for i, d := range u.most {
		if !slices.Contains(its, i) {
			s[pause.key] = max(s[pause.key], d.Seconds())
		}
	}
	return s, nil
}

// scaled adds a worker and measures the time until it processes, and the longest pause of a
// partition.
func scaled(ctx context.Context, b *bench, r *row, e entrant) (_ sample, err error) {
	p, client, end, err := b.flowing(ctx, r, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	u := p.pauses()
	began := time.Now()
	scaling := make(chan error, 1)
	go func() { scaling <- client.Scale(ctx, "Count", e.workers+1, func(ctl.Progress) {}) }()
	if err := p.until(ctx, "the fourth worker at work", func() (uint64, bool) {
		sum := u.observe()
		owners := map[int]bool{}
		for i := range r.topic.partitions {
			owners[p.board.Owner(i)] = true
		}
		return sum, len(owners) == e.workers+1
	}); err != nil {
		return nil, err
	}
	s := sample{took.key: time.Since(began).Seconds()}
	if err := <-scaling; err != nil {
		return nil, err
	}
	u.observe()
	for _, d := range u.most {
		s[pause.key] = max(s[pause.key], d.Seconds())
	}
	return s, nil
}

// rolled replaces all workers and measures the longest pause of a partition.
func rolled(ctx context.Context, b *bench, r *row, e entrant) (_ sample, err error) {
	p, client, end, err := b.flowing(ctx, r, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	u := p.pauses()
	began := time.Now()
	rolling := make(chan error, 1)
	go func() { rolling <- client.Restart(ctx, "Count", func(ctl.Progress) {}) }()
	if err := p.until(ctx, "the roll", func() (uint64, bool) {
		sum := u.observe()
		select {
		case err = <-rolling:
			return sum, true
		default:
			return sum, false
		}
	}); err != nil {
		return nil, err
	}
	s := sample{took.key: time.Since(began).Seconds()}
	for _, d := range u.most {
		s[pause.key] = max(s[pause.key], d.Seconds())
	}
	return s, err
}

// command runs a command ten times and takes the median.
func command(ctx context.Context, b *bench, _ *row, e entrant) (sample, error) {
	var all []float64
	for range 10 {
		began := time.Now()
		out, err := exec.CommandContext(ctx, b.binaries[e.contestant], e.flags...).CombinedOutput()
		// A probe without a liveness file exits with 1.
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || len(strings.TrimSpace(string(out))) == 0 {
			return nil, fmt.Errorf("%s: %w\n%s", e.name(), err, out)
		}
		all = append(all, time.Since(began).Seconds())
	}
	return sample{took.key: median(all)}, nil
}
