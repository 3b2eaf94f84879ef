// Command faults runs schedules of faults over a supervisor and a cluster of
// three real brokers, and counts messages:
//
//	go run ./test/faults --minutes 5 --seed 1 --mode eager
//
// A schedule follows from its seed and mode, so that a failing one can be run
// again; with --shrink it is then made as small as it still fails. Results are
// appended, a JSON line each, to the file named by --results.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/test/faults/runner"
	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

type flags struct {
	Minutes float64       `help:"How long to go on; at least one schedule is run." default:"5"`
	Seed    uint64        `help:"The first seed; the next ones follow it. 0 draws one."`
	Mode    []string      `help:"Modes to run in turn; empty: all." placeholder:"MODE"`
	Length  time.Duration `help:"Length of a schedule." default:"40s"`
	KeepLog bool          `help:"Never put the log on a full disk: to see what happened in a schedule that does."`
	Race    bool          `help:"Build the application with the race detector."`
	Keep    bool          `help:"Keep journals and logs of runs that went well too."`
	Shrink  bool          `help:"Make a failing schedule smaller, and stop."`
	Results string        `help:"File to append results to." placeholder:"FILE"`
	Dir     string        `help:"Where journals and logs are kept; empty: a temporary directory, removed when all went well."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Description("Break things and count messages."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, f)
	if err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) (failed bool, err error) {
	modes, err := chosen(f.Mode)
	if err != nil {
		return false, err
	}
	dir := f.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "faults"); err != nil {
			return false, err
		}
		defer func() {
			if !failed && !f.Keep && err == nil {
				err = os.RemoveAll(dir)
			}
		}()
	}
	app, err := runner.Build(ctx, dir, f.Race)
	if err != nil {
		return false, err
	}
	c, err := cluster.New(ctx, cluster.Options{Brokers: 3, Proxy: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	rn := &runner.Runner{Cluster: c, App: app, Dir: dir, Say: func(line string) { fmt.Fprintln(os.Stderr, line) }}

	seed := f.Seed
	if seed == 0 {
		seed = uint64(rand.Uint32())
	}
	end := time.Now().Add(time.Duration(f.Minutes * float64(time.Minute)))
	var results []runner.Result
	for i := 0; i == 0 || time.Now().Before(end); i++ {
		s := schedule.Draw(seed+uint64(i/len(modes)), modes[i%len(modes)], f.Length)
		s.LogFull = s.LogFull && !f.KeepLog
		fmt.Fprintf(os.Stderr, "=> mode %s, seed %d, %d faults\n", s.Mode.Name, s.Seed, len(s.Events))
		result, err := rn.Run(ctx, s)
		if err != nil {
			return failed, fmt.Errorf("mode %s, seed %d: %w", s.Mode.Name, s.Seed, err)
		}
		results = append(results, result)
		report(result, f.Keep)
		if err := record(f.Results, result); err != nil {
			return failed, err
		}
		if !result.OK() {
			failed = true
			if f.Shrink {
				return true, shrink(ctx, rn, s)
			}
		}
	}
	table(results)
	return failed, nil
}

func chosen(names []string) ([]schedule.Mode, error) {
	var modes []schedule.Mode
	if len(names) == 0 {
		for _, m := range schedule.Modes {
			if !m.Transactional { // refused at start as yet
				modes = append(modes, m)
			}
		}
		return modes, nil
	}
	for _, name := range names {
		m, err := schedule.Find(name)
		if err != nil {
			return nil, err
		}
		modes = append(modes, m)
	}
	return modes, nil
}

func report(r runner.Result, keep bool) {
	fmt.Fprintf(os.Stderr, "   %s\n", strings.ReplaceAll(r.Verdict.String(), "\n", "\n   "))
	for _, p := range r.Problems {
		fmt.Fprintf(os.Stderr, "   PROBLEM: %s\n", p)
	}
	if !r.OK() {
		fmt.Fprintf(os.Stderr, "   FAILED: go run ./test/faults --mode %s --seed %d --length %v --minutes 0; logs in %s\n",
			r.Schedule.Mode.Name, r.Schedule.Seed, r.Schedule.Length, r.Dir)
		return
	}
	if keep {
		return
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		fmt.Fprintf(os.Stderr, "   %v\n", err)
	}
}

// record appends a result.
func record(path string, r runner.Result) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r.Dir = "" // of this machine
	return json.NewEncoder(f).Encode(r)
}

// shrink says which faults suffice.
func shrink(ctx context.Context, rn *runner.Runner, s schedule.Schedule) error {
	var broken error
	small := schedule.Shrink(s, func(s schedule.Schedule) bool {
		r, err := rn.Run(ctx, s)
		if err != nil {
			broken = err
			return false
		}
		return !r.OK()
	})
	fmt.Fprintln(os.Stderr, "=> these suffice:")
	for _, e := range small.Events {
		fmt.Fprintf(os.Stderr, "   %v\n", e)
	}
	return broken
}

// table sums up by mode.
func table(results []runner.Result) {
	type row struct {
		runs, failed, messages, repeats, lost, disorder, atOnce, ahead, unexcused int
		recovery                                                                  time.Duration
	}
	rows := map[string]*row{}
	for _, r := range results {
		t := rows[r.Schedule.Mode.Name]
		if t == nil {
			t = &row{}
			rows[r.Schedule.Mode.Name] = t
		}
		t.runs++
		if !r.OK() {
			t.failed++
		}
		v := r.Verdict
		t.messages += v.Messages
		t.repeats += v.Repeats
		t.lost += len(v.Lost)
		t.disorder += len(v.OutOfOrder)
		t.atOnce += len(v.AtOnce)
		t.ahead += len(v.Ahead)
		t.unexcused += len(v.Duplicated)
		t.recovery = max(t.recovery, r.Recovery)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "mode\truns\tfailed\tmessages\tlost\tout of order\tby two\tahead\trepeats\tunexcused\tslowest recovery\t")
	for _, m := range schedule.Modes {
		if t := rows[m.Name]; t != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", m.Name, t.runs, t.failed, t.messages, t.lost, t.disorder, t.atOnce, t.ahead,
				t.repeats, t.unexcused, t.recovery.Round(100*time.Millisecond))
		}
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
	}
}
