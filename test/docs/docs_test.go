package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/launcher"
)

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "racecar", "racecarctl": // see ask
		os.Exit(launcher.Main())
	}
	os.Exit(m.Run())
}

func repository(t *testing.T) (root string, pages map[string]*page) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	pages, err = readPages(root)
	if err != nil {
		t.Fatal(err)
	}
	if pages["README.md"] == nil || pages["docs/configuration.md"] == nil {
		t.Fatalf("only %d Markdown files found", len(pages))
	}
	return root, pages
}

// each tells what check finds wrong with each page, in order of their names.
func each(t *testing.T, pages map[string]*page, check func(p *page) []string) {
	t.Helper()
	var names []string
	for name := range pages {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, wrong := range check(pages[name]) {
			t.Error(wrong)
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	root, pages := repository(t)
	each(t, pages, func(p *page) []string { return p.brokenLinks(root, pages) })
}

func TestFilesNamedAreThere(t *testing.T) {
	root, pages := repository(t)
	each(t, pages, func(p *page) []string { return p.missingPaths(root) })
}

func TestNamesExist(t *testing.T) {
	root, pages := repository(t)
	a, err := readAPI(root, "racecar", "racecartest", "cli")
	if err != nil {
		t.Fatal(err)
	}
	each(t, pages, func(p *page) []string { return p.unknownNames(a) })
}

func TestVariablesExist(t *testing.T) {
	root, pages := repository(t)
	each(t, pages, func(p *page) []string {
		wrong, err := p.unknownVariables(root)
		if err != nil {
			t.Fatal(err)
		}
		return wrong
	})
}

func TestYAMLIsRead(t *testing.T) {
	_, pages := repository(t)
	dir := t.TempDir()
	each(t, pages, func(p *page) []string { return p.badYAML(dir) })
}

func TestCommandsExist(t *testing.T) {
	_, pages := repository(t)
	tools := ourTools(t)
	each(t, pages, func(p *page) []string { return p.badCommands(tools) })
}

func ourTools(t *testing.T) map[string]*tool {
	t.Helper()
	tools, err := readOurTools()
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// readOurTools asks each command once for all tests.
var readOurTools = sync.OnceValues(func() (map[string]*tool, error) {
	tools := map[string]*tool{}
	for _, name := range []string{"racecar", "racecarctl"} {
		own, err := readTool(name, name == "racecar", func(args ...string) (string, error) { return ask(name, args...) })
		if err != nil {
			return nil, err
		}
		tools[name] = own
	}
	return tools, nil
})

// ask runs this test's program as racecar or racecarctl. Under the race detector
// that would sleep a second at its end.
func ask(name string, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	out, err := (&exec.Cmd{Path: self, Args: append([]string{name}, args...), Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0")}).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}

func TestGoCompiles(t *testing.T) {
	root, pages := repository(t)
	for name, p := range pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files, problems, err := p.writeSnippets(root, dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range problems {
				t.Error(wrong)
			}
			if files == 0 {
				return
			}
			vet := exec.Command("go", "vet", "-mod=mod", "./...")
			vet.Dir = dir
			vet.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
			if out, err := vet.CombinedOutput(); err != nil {
				t.Errorf("%d blocks of Go: %v\n%s", files, err, out)
			}
		})
	}
}
