package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/racecar-go/racecar/test/faults/runner"
	"github.com/racecar-go/racecar/test/faults/schedule"
)

// entry is what is kept of a run: its faults follow from mode, seed and length.
type entry struct {
	At        time.Time     `json:"at"`
	Commit    string        `json:"commit,omitempty"` // a schedule is drawn as its version draws it
	Mode      string        `json:"mode"`
	Seed      uint64        `json:"seed"`
	Length    time.Duration `json:"length"`
	Settings  string        `json:"settings"`
	Faults    int           `json:"faults"`
	Forced    bool          `json:"forced,omitempty"`
	Messages  int           `json:"messages"`
	Lost      int           `json:"lost"`
	Disorder  int           `json:"out_of_order"`
	AtOnce    int           `json:"by_two"`
	Ahead     int           `json:"ahead"`
	Unknown   int           `json:"unknown,omitempty"`
	Altered   int           `json:"altered,omitempty"`
	Again     int           `json:"again,omitempty"`
	Repeats   int           `json:"repeats"`
	Unexcused int           `json:"unexcused"`
	Problems  []string      `json:"problems,omitempty"`
	Recovery  time.Duration `json:"recovery"`
	Took      time.Duration `json:"took"`
}

func (e entry) ok() bool {
	return e.Lost+e.Disorder+e.AtOnce+e.Ahead+e.Unknown+e.Altered+e.Again+e.Unexcused+len(e.Problems) == 0
}

func entryOf(r runner.Result, commit string) entry {
	v := r.Verdict
	return entry{
		Commit: commit, At: r.At.UTC().Truncate(time.Second), Mode: r.Schedule.Mode.Name, Seed: r.Schedule.Seed, Length: r.Schedule.Length, Settings: r.Settings,
		Faults: len(r.Schedule.Events), Forced: r.Schedule.Forced, Messages: v.Messages, Lost: len(v.Lost), Disorder: len(v.OutOfOrder),
		AtOnce: len(v.AtOnce), Ahead: len(v.Ahead), Unknown: len(v.Unknown), Altered: len(v.Altered), Again: len(v.Again), Repeats: v.Repeats, Unexcused: len(v.Duplicated),
		Problems: r.Problems, Recovery: r.Left.Recovery, Took: r.Took,
	}
}

// record appends a result.
func record(path string, r runner.Result, commit string) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return json.NewEncoder(f).Encode(entryOf(r, commit))
}

// commit is that of the working tree, empty where there is none.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// row sums up the runs of a mode.
type row struct {
	mode                                                                                                        string
	runs, failed, faults, messages, lost, disorder, atOnce, ahead, altered, again, repeats, unexcused, problems int
	recovery                                                                                                    time.Duration
}

func (r *row) add(e entry) {
	r.runs++
	if !e.ok() {
		r.failed++
	}
	r.faults += e.Faults
	r.messages += e.Messages
	r.lost += e.Lost
	r.disorder += e.Disorder
	r.atOnce += e.AtOnce
	r.ahead += e.Ahead
	r.altered += e.Altered
	r.again += e.Again
	r.repeats += e.Repeats
	r.unexcused += e.Unexcused
	r.problems += len(e.Problems)
	r.recovery = max(r.recovery, e.Recovery)
}

// cells are those of columns.
func (r *row) cells() []any {
	return []any{r.mode, r.runs, r.failed, r.faults, r.messages, r.lost, r.disorder, r.atOnce, r.ahead, r.altered, r.again, r.repeats, r.unexcused, r.problems, r.recovery.Round(100 * time.Millisecond)}
}

var columns = []string{"mode", "runs", "failed", "faults", "messages", "lost", "out of order", "by two", "ahead", "altered", "again", "repeats", "unexcused", "other", "slowest recovery"}

func rows(results []runner.Result) []*row {
	var entries []entry
	for _, r := range results {
		entries = append(entries, entryOf(r, ""))
	}
	return sum(entries)
}

// sum is a row for each mode, in their order, and one for all.
func sum(entries []entry) []*row {
	var all []*row
	total := &row{mode: "all"}
	for _, m := range schedule.Modes {
		r := &row{mode: m.Name}
		for _, e := range entries {
			if e.Mode == m.Name {
				r.add(e)
				total.add(e)
			}
		}
		if r.runs > 0 {
			all = append(all, r)
		}
	}
	return append(all, total)
}

// table is the verdict table on a terminal.
func table(out io.Writer, rows []*row) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, c := range columns {
		fmt.Fprint(w, c, "\t")
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		for _, c := range r.cells() {
			fmt.Fprint(w, c, "\t")
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
	}
}

// summarize prints the results in a file as a table in Markdown.
func summarize(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := readResults(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	line := "|"
	rule := "|"
	for _, c := range columns {
		line += " " + c + " |"
		rule += "---|"
	}
	fmt.Fprintf(out, "%s\n%s\n", line, rule)
	for _, r := range sum(entries) {
		fmt.Fprint(out, "|")
		for _, c := range r.cells() {
			fmt.Fprintf(out, " %v |", c)
		}
		fmt.Fprintln(out)
	}
	return nil
}

func readResults(in io.Reader) ([]entry, error) {
	var entries []entry
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, err := schedule.Find(e.Mode); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}
