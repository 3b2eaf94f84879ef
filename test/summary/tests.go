package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	FailedBuild string
	Test        string
	Elapsed     float64
	Output      string
}

// one is a test or subtest.
type one struct {
	output  strings.Builder
	state   string // "", pass, fail, skip
	elapsed float64
	hasSub  bool // its subtests are counted instead
}

// pkg is a package under test.
type pkg struct {
	output strings.Builder
	tests  map[string]*one
}

// tests follows a run.
type tests struct {
	out    io.Writer
	pkgs   map[string]*pkg
	builds map[string]*strings.Builder // what the compiler said, by import path
	failed int                         // packages that failed, though no test of theirs did
	broken int                         // lines that are no events
}

func newTests(out io.Writer) *tests {
	return &tests{out: out, pkgs: map[string]*pkg{}, builds: map[string]*strings.Builder{}}
}

// line takes one line of input. What is no event is shown: it comes from the go
// command itself.
func (ts *tests) line(text []byte) {
	var e event
	if err := json.Unmarshal(text, &e); err != nil || e.Action == "" {
		fmt.Fprintf(ts.out, "%s\n", text)
		ts.broken++
		return
	}
	switch e.Action {
	case "build-output":
		b := ts.builds[e.ImportPath]
		if b == nil {
			b = &strings.Builder{}
			ts.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail":
		return // the packages that needed it fail
	}
	p := ts.pkgs[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*one{}}
		ts.pkgs[e.Package] = p
	}
	if e.Test == "" {
		ts.packageEvent(p, e)
	} else {
		ts.testEvent(p, e)
	}
}

func (ts *tests) testEvent(p *pkg, e event) {
	t := p.tests[e.Test]
	if t == nil {
		t = &one{}
		p.tests[e.Test] = t
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			// A name may hold a slash itself: mark the parents there are.
			for ; i > 0; i = strings.LastIndexByte(e.Test[:i], '/') {
				if parent := p.tests[e.Test[:i]]; parent != nil {
					parent.hasSub = true
				}
			}
		}
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		t.state, t.elapsed = e.Action, e.Elapsed
	}
}

func (ts *tests) packageEvent(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "skip": // no test files
	case "pass":
		if n := len(p.tests); n > 0 {
			fmt.Fprintf(ts.out, "ok   %-60s %6.1fs %4d tests\n", e.Package, e.Elapsed, n)
		}
	case "fail":
		ts.packageFailed(p, e)
	}
}

// packageFailed shows everything there is to know of a package that failed.
func (ts *tests) packageFailed(p *pkg, e event) {
	fmt.Fprintf(ts.out, "FAIL %-60s %6.1fs\n", e.Package, e.Elapsed)
	explained := false
	for _, name := range slices.Sorted(maps.Keys(p.tests)) {
		t := p.tests[name]
		if t.state == "" {
			// The process ended in the middle of it.
			t.state = "fail"
		}
		if t.state == "fail" {
			explained = true
			fmt.Fprint(ts.out, indent(t.output.String()))
		}
	}
	if b := ts.builds[e.FailedBuild]; b != nil {
		fmt.Fprint(ts.out, indent(b.String()))
	}
	if !explained {
		ts.failed++
		fmt.Fprint(ts.out, indent(p.output.String()))
	}
}

// finish returns the counts, with mustSay only of tests that said so, or whose
// parent did.
func (ts *tests) finish(mustSay string) result {
	r := result{Failed: ts.failed + ts.broken, Reasons: map[string]int{}}
	type timed struct {
		name    string
		elapsed float64
	}
	var slow []timed
	for path, p := range ts.pkgs {
		for name, t := range p.tests {
			slow = append(slow, timed{path + " " + name, t.elapsed})
			switch {
			case t.state == "fail" && (!t.hasSub || !p.subFailed(name)):
				r.Failed++
			case t.hasSub || t.state == "fail":
			case t.state == "skip":
				r.Skipped++
				r.Reasons[skipReason(t.output.String())]++
			case t.state == "pass" && !p.logged(name, mustSay):
				r.Others++
			case t.state == "pass":
				r.Passed++
			}
		}
	}
	if r.Passed == 0 && r.Failed == 0 {
		r.Failed = 1
		fmt.Fprintln(ts.out, "FAIL no test ran in this stage")
		if mustSay != "" {
			fmt.Fprintf(ts.out, "     that said %q\n", mustSay)
		}
	}
	slices.SortFunc(slow, func(a, b timed) int { return int(1e3 * (b.elapsed - a.elapsed)) })
	for _, t := range slow[:min(5, len(slow))] {
		if t.elapsed >= 5 {
			fmt.Fprintf(ts.out, "slow %s %s\n", t.name, time.Duration(t.elapsed*float64(time.Second)).Round(100*time.Millisecond))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		fmt.Fprintf(ts.out, "skip %d × %s\n", r.Reasons[reason], reason)
	}
	return r
}

// subFailed reports whether a subtest of name failed, which is counted instead.
func (p *pkg) subFailed(name string) bool {
	for other, t := range p.tests {
		if strings.HasPrefix(other, name+"/") && t.state == "fail" {
			return true
		}
	}
	return false
}

// logged reports whether the test, or one that it is a subtest of, logged words.
func (p *pkg) logged(name, words string) bool {
	for words != "" {
		if t := p.tests[name]; t != nil && strings.Contains(t.output.String(), words) {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
	return true
}

// location is what the testing package writes before what a test logs.
var location = regexp.MustCompile(`^\s*\S+\.go:\d+: `)

// skipReason returns the last thing a skipped test logged.
func skipReason(output string) string {
	reason := "no reason given"
	for line := range strings.Lines(output) {
		if loc := location.FindString(line); loc != "" {
			reason = strings.TrimSpace(line[len(loc):])
		}
	}
	return reason
}

// indent sets a block of output apart.
func indent(text string) string {
	var s strings.Builder
	for line := range strings.Lines(text) {
		s.WriteString("     " + strings.TrimRight(line, "\n") + "\n")
	}
	return s.String()
}
