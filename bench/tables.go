package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// performancePage has tables that are written from a file of results. Each is between two lines:
//
//	<!-- bench: process,batch: rate,cpu,worker -->
//	<!-- end -->
//
// The first names rows and metrics. If a row compares several programs, the last column has
// racecar's figure divided by theirs.
const performancePage = "docs/performance.md"

const (
	tableBegin = "<!-- bench: "
	tableEnd   = "<!-- end -->"
)

// writeTables writes the tables of the page from the results of that name.
func writeTables(name string) error {
	s, err := load(name)
	if err != nil {
		return err
	}
	if len(s.Rows) == 0 {
		return fmt.Errorf("there are no results in %s.json", resultsPath(name))
	}
	page, err := os.ReadFile(performancePage)
	if err != nil {
		return err
	}
	filled, err := fillTables(string(page), s.results(rows()))
	if err != nil {
		return fmt.Errorf("%s: %w", performancePage, err)
	}
	return os.WriteFile(performancePage, []byte(filled), 0o644)
}

// fillTables returns the page with its tables made from results. A table of which a row was not
// measured stays as it is, and is an error: its figures would be of another run.
func fillTables(page string, results []*result) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(page, tableBegin)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		head, rest, ok := strings.Cut(rest, " -->\n")
		_, after, closed := strings.Cut(rest, tableEnd)
		names, keys, good := strings.Cut(head, ": ")
		if !ok || !closed || !good {
			return "", fmt.Errorf("%q is no table", tableBegin+head)
		}
		table, err := pageTable(strings.Split(names, ","), strings.Split(keys, ","), results)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s%s -->\n%s%s", tableBegin, head, table, tableEnd)
		page = after
	}
}

// pageTable returns a table of rows and metrics.
func pageTable(names, keys []string, results []*result) (string, error) {
	var s strings.Builder
	var used []metric
	for _, key := range keys {
		i := slices.IndexFunc(metrics, func(m metric) bool { return m.key == key })
		if i < 0 {
			return "", fmt.Errorf("no metric is called %q", key)
		}
		used = append(used, metrics[i])
	}
	s.WriteString("| | |")
	for _, m := range used {
		s.WriteString(" " + m.heading() + " |")
	}
	s.WriteString(" × |\n|---|---|" + strings.Repeat("---:|", len(used)+1) + "\n")
	for _, name := range names {
		i := slices.IndexFunc(results, func(r *result) bool { return r.row.name == name })
		if i < 0 {
			return "", fmt.Errorf("row %s was not measured", name)
		}
		r := results[i]
		for j, e := range r.row.who {
			if len(r.samples[e.name()]) == 0 {
				continue // it was not asked for
			}
			title := "`" + name + "`"
			if j > 0 {
				title = ""
			}
			fmt.Fprintf(&s, "| %s | %s |", title, e.name())
			for _, m := range used {
				s.WriteString(" " + r.cell(e, m, false) + " |")
			}
			ratio := ""
			if ratios := r.ratios(r.row.who[0].name(), e.name(), r.row.main.key); j > 0 && len(ratios) > 0 {
				ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
			}
			s.WriteString(" " + ratio + " |\n")
		}
	}
	return s.String(), nil
}
