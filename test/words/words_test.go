package words

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var all = flag.Bool("all", false, "print the findings in pending folders, too")

func TestRetiredWordsAreGone(t *testing.T) {
	table, err := readTable("words.txt")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("pending.txt")
	if err != nil {
		t.Fatal(err)
	}
	pending := map[string]int{}
	for _, line := range lines(source) {
		if line != "" && line[0] != '#' {
			pending[line] = 0
		}
	}
	root := filepath.Join("..", "..")
	found, err := scan(root, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		excused := false
		for folder := range pending {
			if within(f.path, folder) {
				pending[folder]++
				excused = true
			}
		}
		switch {
		case !excused:
			t.Error(f)
		case *all:
			t.Log(f)
		}
	}
	for folder, n := range pending {
		if _, err := os.Stat(filepath.Join(root, folder)); err != nil {
			t.Errorf("pending.txt: %v", err)
		}
		if n == 0 {
			t.Errorf("pending.txt: %s has no findings: remove it from the list", folder)
		}
		t.Logf("%s: %d findings", folder, n)
	}
}

// TestGlossaryIsComplete checks that docs/internals.md defines each term that the table
// recommends in backquotes.
func TestGlossaryIsComplete(t *testing.T) {
	table, err := readTable("words.txt")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "internals.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, glossary, ok := strings.Cut(string(page), "\n## Glossary\n")
	if !ok {
		t.Fatal("docs/internals.md has no glossary")
	}
	glossary, _, _ = strings.Cut(glossary, "\n## ")
	for _, w := range table {
		for _, term := range codeSpan.FindAllString(w.instead, -1) {
			if !strings.Contains(glossary, "**"+strings.Trim(term, "`")+"**") {
				t.Errorf("%s is recommended in place of %q and is not in the glossary", term, w.retired)
			}
		}
	}
}

func TestFindsRetiredWords(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("words.txt", "# a comment\n"+
		"letter, letters | dead-letter record | part, text, prose | dead letter, dead-letter, @allowed\n"+
		"end | shutdown | func\n"+
		"new | newX | param\n"+
		"goes before | overrides | prose\n"+
		"re:^Nor\\b | a sentence | prose\n")
	write("a.go", `package a

// A letter that goes
// before others.
type letterBox struct{ end, weekend int }

func end() {}

// Nor is a dead letter refused.
func deadLetter(new string) string { return new + "a letter" }
`)
	write("a.md", "# Letters\n\nA `letter`, a dead-letter record.\n\n```\nletter\n```\n")
	write("allowed.go", "package a\n")
	table, err := readTable(filepath.Join(dir, "words.txt"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := scan(dir, table)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, strings.SplitAfter(f.String(), " in ")[0]+"…")
	}
	slices.Sort(got)
	want := []string{
		`a.go:10: "letter, letters" in …`,
		`a.go:10: "new" as a parameter or variable: write newX…`,
		`a.go:3: "goes before" in …`,
		`a.go:3: "letter, letters" in …`,
		`a.go:5: "letter, letters" in …`,
		`a.go:7: "end" in …`,
		`a.go:9: "re:^Nor\\b" in …`,
		`a.md:1: "letter, letters" in …`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSpaced(t *testing.T) {
	for id, want := range map[string]string{
		"deadLetterBox": "dead letter box", "TestHTTPServer": "test http server", "PIDFile": "pid file", "a_b": "a b", "at": "at",
	} {
		if got := spaced(id); got != want {
			t.Errorf("spaced(%q) = %q, want %q", id, got, want)
		}
	}
}
