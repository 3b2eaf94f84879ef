package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// There are at least ten, and each says what it breaks and what notices it.
func TestPatchesSayWhatTheyAre(t *testing.T) {
	paths, err := filepath.Glob("*.patch")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 10 {
		t.Errorf("%d patches", len(paths))
	}
	for _, path := range paths {
		p, err := read(path)
		if err != nil {
			t.Error(err)
		} else if len(p.tests) == 0 {
			t.Errorf("%s: only the matrix notices it", path)
		}
	}
}

// A patch that does not apply any more shows nothing.
func TestPatchesApply(t *testing.T) {
	paths, err := filepath.Glob("*.patch")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--is-inside-work-tree").CombinedOutput(); err != nil {
		t.Skipf("not a checkout: %s", out)
	}
	for _, path := range paths {
		cmd := exec.CommandContext(t.Context(), "git", "apply", "--check", filepath.Join(where, path))
		cmd.Dir = filepath.Join("..", "..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "01-x.patch")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("It breaks.\nCaught-by: go test ./a\nMatrix: --mode b\n\ndiff --git a/x b/x\nCaught-by: not this\n")
	got, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := patch{name: "01-x", path: path, what: "It breaks.", tests: []string{"go test ./a"}, matrix: []string{matrix + "--mode b"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(patch{})); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", "It breaks.\n", "Caught-by: go test ./a\n"} {
		write(text)
		if _, err := read(path); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

// A sabotage is noticed when its command fails with it alone; one that nothing
// notices, one that does not apply and a command that fails anyway are told apart.
func TestNotices(t *testing.T) {
	root := t.TempDir()
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file("go.mod", "module example.com/x\n")
	file("x.go", "package main\n\nimport \"os\"\n\nfunc main() {\n\tos.Exit(0)\n}\n")
	file("01.patch", "diff --git a/x.go b/x.go\n--- a/x.go\n+++ b/x.go\n@@ -5,3 +5,3 @@\n func main() {\n-\tos.Exit(0)\n+\tos.Exit(1)\n }\n")
	file("02.patch", "diff --git a/x.go b/x.go\n--- a/x.go\n+++ b/x.go\n@@ -5,3 +5,3 @@\n func main() {\n-\tos.Exit(2)\n+\tos.Exit(1)\n }\n")
	if out, err := exec.CommandContext(t.Context(), "git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := &bench{root: root, builds: "go build -o /dev/null .", sound: map[string]error{}}
	notices := func(name, command string) (bool, error) {
		return b.notices(t.Context(), patch{name: name, path: filepath.Join(root, name)}, command)
	}
	if noticed, err := notices("01.patch", "go run ."); !noticed || err != nil {
		t.Errorf("a bug that is there: %v, %v", noticed, err)
	}
	if noticed, err := notices("01.patch", "true"); noticed || err != nil {
		t.Errorf("nobody looks: %v, %v", noticed, err)
	}
	if _, err := notices("02.patch", "go run ."); err == nil || !strings.Contains(err.Error(), "does not apply") {
		t.Errorf("a stale patch: %v", err)
	}
	if _, err := notices("01.patch", "false"); err == nil || !strings.Contains(err.Error(), "fails without sabotage") {
		t.Errorf("a test that always fails: %v", err)
	}
}
