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
	"path/filepath"
	"strings"
	"syscall"
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
	Rate    int           `help:"Messages a second." default:"3000"`
	Replay  string        `help:"Run the schedule in this file, as --shrink leaves it, instead of drawing." placeholder:"FILE"`
	Summary string        `help:"Run nothing: print the table of the results in this file, as docs/reliability.md has it." placeholder:"FILE"`
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
	if f.Summary != "" {
		return false, summarize(os.Stdout, f.Summary)
	}
	next, err := schedules(f)
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
	view := newView(os.Stderr)
	rn := &runner.Runner{Cluster: c, App: app, Dir: dir, Rate: f.Rate, Race: f.Race, Say: view.line, Live: view.live}

	version := commit(ctx)
	end := time.Now().Add(time.Duration(f.Minutes * float64(time.Minute)))
	var results []runner.Result
	for i := 0; i == 0 || time.Now().Before(end); i++ {
		s := next(i)
		s.LogFull = s.LogFull && !f.KeepLog
		view.line(fmt.Sprintf("=> mode %s, seed %d, %d faults", s.Mode.Name, s.Seed, len(s.Events)))
		result, err := rn.Run(ctx, s)
		if err != nil {
			return failed, fmt.Errorf("mode %s, seed %d: %w", s.Mode.Name, s.Seed, err)
		}
		results = append(results, result)
		report(view, f, result)
		if err := record(f.Results, result, version); err != nil {
			return failed, err
		}
		if !result.OK() {
			failed = true
			if f.Shrink {
				return true, shrink(ctx, rn, view, s)
			}
		}
	}
	table(os.Stdout, rows(results))
	return failed, nil
}

// schedules returns what gives the i-th one: the one to be replayed, or else each
// mode in turn, the seeds ascending.
func schedules(f flags) (func(i int) schedule.Schedule, error) {
	if f.Replay != "" {
		b, err := os.ReadFile(f.Replay)
		if err != nil {
			return nil, err
		}
		var s schedule.Schedule
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Replay, err)
		}
		return func(int) schedule.Schedule { return s }, nil
	}
	modes, err := chosen(f.Mode)
	if err != nil {
		return nil, err
	}
	seed := f.Seed
	if seed == 0 {
		seed = uint64(rand.Uint32())
	}
	return func(i int) schedule.Schedule {
		return schedule.Draw(seed+uint64(i/len(modes)), modes[i%len(modes)], f.Length)
	}, nil
}

func chosen(names []string) ([]schedule.Mode, error) {
	if len(names) == 0 {
		return schedule.Modes, nil
	}
	var modes []schedule.Mode
	for _, name := range names {
		m, err := schedule.Find(name)
		if err != nil {
			return nil, err
		}
		modes = append(modes, m)
	}
	return modes, nil
}

func report(v *view, f flags, r runner.Result) {
	v.line("   " + strings.ReplaceAll(r.Verdict.String(), "\n", "\n   "))
	for _, p := range r.Problems {
		v.line("   PROBLEM: " + p)
	}
	if !r.OK() {
		again := fmt.Sprintf("--mode %s --seed %d --length %v", r.Schedule.Mode.Name, r.Schedule.Seed, r.Schedule.Length)
		if f.Replay != "" {
			again = "--replay " + f.Replay
		}
		v.line(fmt.Sprintf("   FAILED: go run ./test/faults %s --rate %d --minutes 0; logs in %s", again, f.Rate, r.Dir))
		return
	}
	if f.Keep {
		return
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		v.line(fmt.Sprintf("   %v", err))
	}
}

// shrink says which faults suffice, and leaves them in a file for --replay.
func shrink(ctx context.Context, rn *runner.Runner, v *view, s schedule.Schedule) error {
	var broken error
	small := schedule.Shrink(s, func(s schedule.Schedule) bool {
		if broken != nil {
			return false
		}
		r, err := rn.Run(ctx, s)
		if err != nil {
			broken = err
			return false
		}
		return !r.OK()
	})
	v.line("=> these suffice:")
	for _, e := range small.Events {
		v.line(fmt.Sprintf("   %v", e))
	}
	b, err := json.MarshalIndent(small, "", "  ")
	if err != nil {
		return errors.Join(broken, err)
	}
	path := filepath.Join(rn.Dir, "shrunk.json")
	v.line("   go run ./test/faults --minutes 0 --replay " + path)
	return errors.Join(broken, os.WriteFile(path, b, 0o644))
}
