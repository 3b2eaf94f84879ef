package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is a module with tests of all kinds, which the go command runs for us: so
// it is the events of this Go version that are tested, not those of the day on
// which this was written.
var module = map[string]string{
	"go.mod": "module example.test/m\n\ngo 1.26\n",
	"good/good_test.go": `package good
import "testing"
func TestPlain(t *testing.T) {}
func TestMarked(t *testing.T) {
	t.Log("runs against the real thing")
	t.Run("a", func(t *testing.T) {})
	t.Run("b/c", func(t *testing.T) {})
}
func TestSkipped(t *testing.T) { t.Skip("needs something") }
`,
	"bad/bad_test.go": `package bad
import "testing"
func TestBad(t *testing.T) {
	t.Run("one", func(t *testing.T) { t.Error("what went wrong") })
	t.Run("two", func(t *testing.T) {})
}
func TestParent(t *testing.T) {
	t.Run("fine", func(t *testing.T) {})
	t.Error("only the parent")
}
`,
	"exits/exits_test.go": `package exits
import ("os"; "testing")
func TestBefore(t *testing.T) {}
func TestExits(t *testing.T) { println("last words"); os.Exit(3) }
`,
	"main/main_test.go": `package main
import ("os"; "testing")
func TestFine(t *testing.T) {}
func TestMain(m *testing.M) { m.Run(); println("a leak was found"); os.Exit(1) }
`,
	"broken/broken_test.go": `package broken
import "testing"
func TestBroken(t *testing.T) { undefined() }
`,
	"empty/empty.go": "package empty\n",
}

// summarize runs the tests of one package and then this program.
func summarize(t *testing.T, pkg string, args ...string) (out string, ok bool, record string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "-vet=off", "./"+pkg)
	cmd.Dir = dir
	events, err := cmd.Output()
	if len(events) == 0 {
		t.Fatalf("go test: %v", err)
	}
	record = filepath.Join(dir, "record")
	var b bytes.Buffer
	ok, err = run(append([]string{"--stage", pkg, "--record", record}, args...), bytes.NewReader(events), &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), ok, record
}

func TestStages(t *testing.T) {
	tests := []struct {
		pkg  string
		args []string
		ok   bool
		says []string
	}{
		{"good", nil, true, []string{"good: 3 passed, 0 failed, 1 skipped\n", "skip 1 × needs something", "ok   example.test/m/good"}},
		{"good", []string{"--must-say", "the real thing"}, true, []string{"good: 2 passed, 0 failed, 1 skipped (besides 1 that do not use it)\n"}},
		{"good", []string{"--must-say", "never said"}, false, []string{"no test ran", `that said "never said"`, "good: 0 passed, 1 failed"}},
		{"bad", nil, false, []string{"what went wrong", "only the parent", "bad: 2 passed, 2 failed, 0 skipped\n"}},
		{"exits", nil, false, []string{"last words", "exits: 1 passed, 1 failed, 0 skipped\n"}},
		{"main", nil, false, []string{"a leak was found", "main: 1 passed, 1 failed, 0 skipped\n"}},
		{"broken", nil, false, []string{"undefined: undefined", "broken: 0 passed, 1 failed, 0 skipped\n"}},
		{"empty", nil, false, []string{"no test ran", "empty: 0 passed, 1 failed, 0 skipped\n"}},
	}
	for _, test := range tests {
		t.Run(strings.Join(append([]string{test.pkg}, test.args...), " "), func(t *testing.T) {
			out, ok, record := summarize(t, test.pkg, test.args...)
			if ok != test.ok {
				t.Errorf("ok %v, want %v", ok, test.ok)
			}
			for _, s := range test.says {
				if !strings.Contains(out, s) {
					t.Errorf("it does not say %q:\n%s", s, out)
				}
			}
			results, err := readResults(record)
			if err != nil || len(results) != 1 {
				t.Fatalf("recorded %v, %v", results, err)
			}
			if !strings.HasSuffix(out, results[0].String()+"\n") {
				t.Errorf("recorded %v, said\n%s", results[0], out)
			}
		})
	}
}

func TestTotal(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	steps := []struct {
		args []string
		ok   bool
	}{
		{[]string{"--stage", "demo", "--check", "--", "true"}, true},
		{[]string{"--stage", "lint", "--check", "--", "false"}, false},
		{[]string{"--stage", "no such program", "--check", "--", "/nonexistent"}, false},
	}
	for _, s := range steps {
		var out bytes.Buffer
		ok, err := run(append([]string{"--record", record}, s.args...), nil, &out)
		if err != nil || ok != s.ok {
			t.Errorf("%v: %v, %v\n%s", s.args, ok, err, &out)
		}
	}
	if err := appendResult(record, result{Stage: "unit", Passed: 10, Skipped: 2}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ok, err := run([]string{"--record", record, "--total"}, nil, &out)
	if ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	want := `demo: 1 passed, 0 failed, 0 skipped
lint: 0 passed, 1 failed, 0 skipped
no such program: 0 passed, 1 failed, 0 skipped
unit: 10 passed, 0 failed, 2 skipped
11 passed, 2 failed, 2 skipped
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestNothingRecorded(t *testing.T) {
	var out bytes.Buffer
	ok, err := run([]string{"--record", filepath.Join(t.TempDir(), "none"), "--total"}, nil, &out)
	if ok || err != nil || out.String() != "0 passed, 0 failed, 0 skipped\n" {
		t.Errorf("%v, %v: %s", ok, err, &out)
	}
}

func TestWhatIsNoEventFails(t *testing.T) {
	var out bytes.Buffer
	ok, err := run([]string{"--stage", "unit", "--record", filepath.Join(t.TempDir(), "r")}, strings.NewReader("go: no such thing\n"), &out)
	if ok || err != nil || !strings.Contains(out.String(), "go: no such thing") {
		t.Errorf("%v, %v: %s", ok, err, &out)
	}
}
