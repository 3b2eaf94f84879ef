package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testResults() []*result {
	r := &row{name: "process", main: rate, who: []entrant{{contestant: "racecar"}, {contestant: "sarama"}, {contestant: "franz"}}}
	return []*result{{row: r, samples: map[string][]sample{
		"racecar": {{"rate": 3_000_000, "cpu": 0.25}, {"rate": 2_000_000, "cpu": 0.35}, {"rate": 2_500_000, "cpu": 0.3}},
		"sarama":  {{"rate": 1_500_000}, {"rate": 2_000_000}, {"rate": 2_000_000}},
	}}}
}

func TestTablesAreWrittenFromResults(t *testing.T) {
	page := "text\n\n<!-- bench: process: rate,cpu -->\nold\n<!-- end -->\n\nmore\n"
	got, err := fillTables(page, testResults())
	if err != nil {
		t.Fatal(err)
	}
	want := `text

<!-- bench: process: rate,cpu -->
| | | messages/s | CPU s/million | × |
|---|---|---:|---:|---:|
| ` + "`process`" + ` | racecar | 2,500,000 | 0.30 |  |
|  | sarama | 2,000,000 | – | 1.25 (1.00–2.00) |
<!-- end -->

more
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if again, err := fillTables(got, testResults()); err != nil || again != got {
		t.Errorf("a second time: %v\n%s", err, again)
	}
}

func TestTablesThatCannotBeWritten(t *testing.T) {
	for page, want := range map[string]string{
		"<!-- bench: other: rate -->\n<!-- end -->":    "row other was not measured",
		"<!-- bench: process: speed -->\n<!-- end -->": `no metric is called "speed"`,
		"<!-- bench: process: rate -->\n":              "is no table",
		"<!-- bench: process -->\n<!-- end -->":        "is no table",
	} {
		if _, err := fillTables(page, testResults()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", page, err, want)
		}
	}
}

// The page's tables name rows and metrics that exist.
func TestTablesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../" + performancePage)
	if err != nil {
		t.Fatal(err)
	}
	var all []*result
	for _, r := range rows() {
		all = append(all, &result{row: r, samples: map[string][]sample{}})
	}
	if _, err := fillTables(string(page), all); err != nil {
		t.Error(err)
	}
}

// What a run has saved is not measured again.
func TestRowsThatWereSavedAreNotMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	if s, err := load("run"); err != nil || len(s.Rows) != 0 {
		t.Fatalf("%v, %v", s, err)
	}
	first, second := &row{name: "first"}, &row{name: "second"}
	b := &bench{}
	if err := b.save("run", []*result{{row: first, commit: "abc", samples: map[string][]sample{"racecar": {{"rate": 1}}}}}); err != nil {
		t.Fatal(err)
	}
	s, err := load("run")
	if err != nil {
		t.Fatal(err)
	}
	results := s.results([]*row{first, second})
	if len(results) != 1 || results[0].row != first || results[0].commit != "abc" || results[0].samples["racecar"][0]["rate"] != 1 {
		t.Errorf("results %+v", results)
	}
	if left := missing([]*row{first, second}, results); len(left) != 1 || left[0] != second {
		t.Errorf("%d rows are missing", len(left))
	}
}

func TestRowsHaveDifferentNames(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rows() {
		if names[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		names[r.name] = true
	}
}
