package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteModfile(t *testing.T) {
	const requires = "module example.com/app\n\ngo 1.26\n\nrequire github.com/racecar-go/racecar v1.2.3\n"
	for _, tc := range []struct {
		name, mod string
		from      source
		want, err string
	}{
		{name: "knows racecar", mod: requires, from: source{dir: "/src/racecar"}, want: requires},
		{name: "is racecar", mod: "module github.com/racecar-go/racecar\n", from: source{}, want: "module github.com/racecar-go/racecar\n"},
		{name: "from a checkout", mod: "module example.com/app\n", from: source{dir: "/src/racecar"},
			want: "module example.com/app\n\nrequire github.com/racecar-go/racecar v0.0.0-00010101000000-000000000000\n\nreplace github.com/racecar-go/racecar => /src/racecar\n"},
		{name: "from a version", mod: "module example.com/app\n", from: source{version: "v1.0.0"},
			want: "module example.com/app\n\nrequire github.com/racecar-go/racecar v1.0.0\n"},
		{name: "from nowhere", mod: "module example.com/app\n",
			err: "does not require github.com/racecar-go/racecar, and this racecar does not know where it came from: add it with `go get github.com/racecar-go/racecar`"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, work := t.TempDir(), t.TempDir()
			if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte(tc.mod), 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := findModule(root)
			if err != nil {
				t.Fatal(err)
			}
			name, err := writeModfile(m, tc.from, work)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); err != nil || string(got) != tc.want {
				t.Errorf("error %v, go.mod:\n%s\nwant:\n%s", err, got, tc.want)
			}
		})
	}
}

// A module that does not know racecar is built with the launcher's own, and its
// files stay as they are.
func TestBuildCompletesTheModule(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "")
	fake, root := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(fake, "go.mod"), "module github.com/racecar-go/racecar\n\ngo 1.26\n")
	write(filepath.Join(fake, "racecar", "r.go"), "package racecar\n")
	write(filepath.Join(fake, "cli", "cli.go"), "package cli\n\nfunc Main() { println(\"built\") }\n")
	mod := "module example.com/app\n\ngo 1.26\n"
	write(filepath.Join(root, "go.mod"), mod)
	write(filepath.Join(root, "consumers", "c.go"), "package consumers\n\nimport _ \"github.com/racecar-go/racecar/racecar\"\n")

	m, err := findModule(root)
	if err != nil {
		t.Fatal(err)
	}
	all, err := requiredDirs(m, arguments{}, root)
	if err != nil {
		t.Fatal(err)
	}
	g, err := findGo(root)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "program")
	b := build{tool: g, module: m, required: all, from: source{dir: fake}, work: t.TempDir()}
	listed, err := b.run(t.Context(), "-o", out)
	if err != nil {
		t.Fatal(err)
	}
	files, dirs := inputs(g, m, all, listed)
	for _, want := range []string{filepath.Join(fake, "cli", "cli.go"), filepath.Join(root, "consumers", "c.go"), filepath.Join(root, "go.mod"), filepath.Join(fake, "go.mod")} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is no input of the build: %v", want, files)
		}
	}
	for _, want := range []string{filepath.Join(fake, "cli"), filepath.Join(root, "consumers")} {
		if !slices.Contains(dirs, want) {
			t.Errorf("%s is no input of the build: %v", want, dirs)
		}
	}
	if slices.Contains(files, filepath.Join(b.work, "go.mod")) {
		t.Error("the copy of go.mod, which every build writes, is an input of the build")
	}
	if _, err := os.Stat(out); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "go.mod")); err != nil || string(got) != mod {
		t.Errorf("error %v, the module's go.mod is now:\n%s", err, got)
	}
	if _, err := os.Stat(filepath.Join(root, "go.sum")); err == nil {
		t.Error("the module has a go.sum now")
	}
}

// Of `//go:embed templates` with files in templates/a alone, the folder templates is an
// input as well: templates/b may come.
func TestNewFolderOfEmbeddedFilesIsNoticed(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	embedded := filepath.Join(dir, "templates", "a", "x.tmpl")
	write(embedded)
	hourAgo := time.Now().Add(-time.Hour)
	for _, name := range []string{embedded, filepath.Dir(embedded), filepath.Join(dir, "templates"), dir} {
		if err := os.Chtimes(name, hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	listed := []goPackage{{Dir: dir, Module: &goModule{Main: true}, EmbedFiles: []string{"templates/a/x.tmpl"}}}
	files, dirs := inputs(&goTool{}, &module{root: dir}, nil, listed)
	files = slices.DeleteFunc(files, func(name string) bool { return !strings.HasPrefix(name, dir) })
	s := newStamp(files, dirs, "", time.Now())
	if !s.fresh("") {
		t.Fatal("nothing has changed, and the stamp is out of date")
	}
	write(filepath.Join(dir, "templates", "b", "y.tmpl"))
	if s.fresh("") {
		t.Errorf("a new folder of embedded files was not noticed: %v", dirs)
	}
}
