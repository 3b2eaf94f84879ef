package layout

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/internals.md answers each trap, and the tests it names exist.
func TestTrapsAreAnswered(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "internals.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([TI]\d+) [^|]+ \| ([^|]+) \| ([^|]+) \|$`)
	name := regexp.MustCompile("`([\\w/]+\\.Test\\w+)`")
	tests := testsOfTheModule(t)
	answered := map[string]bool{}
	for _, r := range row.FindAllStringSubmatch(string(page), -1) {
		trap, found := r[1], name.FindAllStringSubmatch(r[3], -1)
		if answered[trap] {
			t.Errorf("%s is there twice", trap)
		}
		answered[trap] = true
		if len(found) == 0 {
			t.Errorf("%s names no test", trap)
		}
		for _, f := range found {
			if !tests[f[1]] {
				t.Errorf("%s: there is no %s", trap, f[1])
			}
		}
	}
	for kind, last := range map[string]int{"T": 41, "I": 7} {
		for n := 1; n <= last; n++ {
			if trap := fmt.Sprint(kind, n); !answered[trap] {
				t.Errorf("%s has no answer", trap)
			}
		}
	}
}

// Each rule of SECURITY.md about what is protected names a test, and those exist.
func TestSecurityRulesAreTested(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(page), "\n## What is protected")
	rules, _, _ = strings.Cut(rules, "\n## ")
	name := regexp.MustCompile("`([\\w/]+\\.Test\\w+)`")
	for _, rule := range strings.Split(rules, "\n\n**")[1:] {
		if title, _, _ := strings.Cut(rule, "**"); !name.MatchString(rule) {
			t.Errorf("%q names no test", title)
		}
	}
	tests := testsOfTheModule(t)
	for _, f := range name.FindAllStringSubmatch(string(page), -1) {
		if !tests[f[1]] {
			t.Errorf("there is no %s", f[1])
		}
	}
}

// testsOfTheModule lists its tests as package.TestName, the package by its directory.
func testsOfTheModule(t *testing.T) map[string]bool {
	t.Helper()
	root := filepath.Join("..", "..")
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, m := range declaration.FindAllSubmatch(text, -1) {
			tests[filepath.ToSlash(dir)+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
