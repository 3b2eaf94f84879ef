package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// result has a row's samples by entrant, in the order of the rounds.
type result struct {
	row     *row
	commit  string // of the program that was measured; empty: unknown
	samples map[string][]sample
}

// values returns an entrant's figures of a metric; false if it has none.
func (r *result) values(who, key string) ([]float64, bool) {
	var all []float64
	for _, s := range r.samples[who] {
		if v, ok := s[key]; ok {
			all = append(all, v)
		}
	}
	return all, len(all) > 0
}

// ratios compares two entrants round by round, since a machine's speed changes more from one
// minute to the next than from one run to the next.
func (r *result) ratios(who, than, key string) []float64 {
	a, _ := r.values(who, key)
	b, _ := r.values(than, key)
	var all []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			all = append(all, a[i]/b[i])
		}
	}
	return all
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// number formats a figure for people.
func (m metric) number(v float64) string {
	if m.decimals > 0 {
		return strconv.FormatFloat(v, 'f', m.decimals, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// brief formats a sample for a line of progress.
func brief(r *row, s sample) string {
	text := r.main.number(s[r.main.key]) + " " + r.main.label()
	for _, m := range []metric{cpu, worker} {
		if v, ok := s[m.key]; ok {
			text += ", " + m.number(v) + " " + m.label()
		}
	}
	return text
}

func (m metric) label() string {
	if m.unit == "" {
		return m.title
	}
	return m.unit + " " + m.title
}

// report returns all results as Markdown.
func (b *bench) report(results []*result) string {
	var s strings.Builder
	for _, line := range b.circumstances() {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	for _, c := range contestants {
		if b.binaries[c.name] != "" {
			fmt.Fprintf(&s, "- %s: %s\n", c.name, c.settings)
		}
	}
	for _, r := range results {
		fmt.Fprintf(&s, "\n### %s: %s\n\n", r.row.name, r.row.what)
		if r.commit != commit() {
			fmt.Fprintf(&s, "Measured at commit %s.\n\n", r.commit)
		}
		s.WriteString(r.table())
	}
	if targets := targetTable(results); targets != "" {
		fmt.Fprintf(&s, "\n### Targets\n\nFirst the median of the rounds, then the best.\n\n%s", targets)
	}
	return s.String()
}

// circumstances describes the machine and versions that the figures depend on.
func (b *bench) circumstances() []string {
	return []string{
		fmt.Sprintf("%s, commit %s, %s", b.began.UTC().Format(time.DateOnly), commit(), strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " ")),
		fmt.Sprintf("%s, %d processors, %s/%s, %s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		b.broker,
		fmt.Sprintf("%d rounds; the median, and in brackets the least and the most; ratios are of the same round", b.opts.rounds),
	}
}

// commit is that of the module.
var commit = sync.OnceValue(func() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
})

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			}
		}
	}
	return "unknown processor"
}

// heading is the head of a column.
func (m metric) heading() string {
	if m.unit == "" {
		return m.title
	}
	return m.title + ", " + m.unit
}

// cell returns an entrant's median of a metric and, if so requested, its range.
func (r *result) cell(e entrant, m metric, spread bool) string {
	all, ok := r.values(e.name(), m.key)
	switch {
	case !ok:
		return "–"
	case spread && len(all) > 1:
		return fmt.Sprintf("%s (%s–%s)", m.number(median(all)), m.number(slices.Min(all)), m.number(slices.Max(all)))
	}
	return m.number(median(all))
}

// table returns the table of a row's figures.
func (r *result) table() string {
	var used []metric
	for _, m := range metrics {
		for _, e := range r.row.who {
			if _, ok := r.values(e.name(), m.key); ok {
				used = append(used, m)
				break
			}
		}
	}
	// Repeats get a column only if there are some.
	used = slices.DeleteFunc(used, func(m metric) bool {
		if m.key != repeats.key {
			return false
		}
		for _, e := range r.row.who {
			if all, _ := r.values(e.name(), m.key); len(all) > 0 && slices.Max(all) > 0 {
				return false
			}
		}
		return true
	})
	var s strings.Builder
	s.WriteString("| |")
	for _, m := range used {
		s.WriteString(" " + m.heading() + " |")
	}
	compared := len(r.row.who) > 1
	if compared {
		fmt.Fprintf(&s, " %s's %s is × this |", r.row.who[0].name(), r.row.main.title)
	}
	s.WriteString("\n|---|" + strings.Repeat("---:|", len(used)))
	if compared {
		s.WriteString("---:|")
	}
	s.WriteString("\n")
	for i, e := range r.row.who {
		fmt.Fprintf(&s, "| %s |", e.name())
		for _, m := range used {
			s.WriteString(" " + r.cell(e, m, m.key == r.row.main.key) + " |")
		}
		switch ratios := r.ratios(r.row.who[0].name(), e.name(), r.row.main.key); {
		case !compared:
		case i == 0 || len(ratios) == 0:
			s.WriteString(" |")
		default:
			fmt.Fprintf(&s, " %.2f (%.2f–%.2f) |", median(ratios), slices.Min(ratios), slices.Max(ratios))
		}
		s.WriteString("\n")
	}
	return s.String()
}

// verdict says whether a target was met.
type verdict struct {
	what         string
	typical, top float64
	limit        string
	met          bool
}

func (r *result) judge(t target) (verdict, bool) {
	all, ok := r.values(t.of, t.metric.key)
	v := verdict{what: fmt.Sprintf("%s: %s of %s", r.row.name, t.metric.title, t.of)}
	limit := t.metric.number(t.factor) + " " + t.metric.unit
	if t.than != "" {
		all, v.what = r.ratios(t.of, t.than, t.metric.key), v.what+" / "+t.than
		limit = strconv.FormatFloat(t.factor, 'f', 2, 64)
		ok = len(all) > 0
	}
	if !ok {
		return v, false
	}
	v.typical = median(all)
	if t.atLeast {
		v.top, v.limit, v.met = slices.Max(all), "≥ "+limit, v.typical >= t.factor
	} else {
		v.top, v.limit, v.met = slices.Min(all), "≤ "+limit, v.typical <= t.factor
	}
	return v, true
}

// targetTable returns a table of all targets with their verdicts.
func targetTable(results []*result) string {
	var s strings.Builder
	for _, r := range results {
		for _, t := range r.row.targets {
			v, ok := r.judge(t)
			if !ok {
				continue
			}
			met := "met"
			if !v.met {
				met = "**missed**"
			}
			write := func(f float64) string {
				if t.than != "" {
					return strconv.FormatFloat(f, 'f', 2, 64)
				}
				return t.metric.number(f)
			}
			fmt.Fprintf(&s, "| %s | %s | %s | %s | %s |\n", v.what, v.limit, write(v.typical), write(v.top), met)
		}
	}
	if s.Len() == 0 {
		return ""
	}
	return "| | target | median | best | |\n|---|---:|---:|---:|---|\n" + s.String()
}

// smokeFloor is the lowest ratio of a row: it detects a collapse, not a few percent.
const smokeFloor = 0.8

// smoke returns an error if a row's best ratio is below its floor.
func smoke(results []*result) error {
	for _, r := range results {
		ratios := r.ratios("racecar", "sarama", rate.key)
		if len(ratios) == 0 {
			return fmt.Errorf("%s: nothing was compared", r.row.name)
		}
		best := slices.Max(ratios)
		fmt.Printf("%s: %.2f × the plain loop in the best of %d\n", r.row.name, best, len(ratios))
		if best < smokeFloor {
			return fmt.Errorf("%s: racecar reaches less than %.2f × the plain loop: %.2f × in the best of %d rounds", r.row.name, smokeFloor, best, len(ratios))
		}
	}
	return nil
}
