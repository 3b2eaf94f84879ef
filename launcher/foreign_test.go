package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nobody is another user's id.
const nobody = 65534

// give hands a path to another user, which only root can.
func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; .ci/run is root")
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// A module or workspace that another user has left above the working directory is
// not built.
func TestForeignModule(t *testing.T) {
	for _, foreign := range []string{"go.mod", "go.work", "."} {
		t.Run(foreign, func(t *testing.T) {
			root := t.TempDir()
			below := filepath.Join(root, "a", "b")
			writeFile(t, filepath.Join(below, "x"), "")
			writeFile(t, filepath.Join(root, "go.mod"), "module example.com/x\n")
			writeFile(t, filepath.Join(root, "go.work"), "go 1.26\n")
			if _, err := findModule(below); err != nil {
				t.Fatal(err)
			}
			give(t, filepath.Join(root, foreign))
			_, err := findModule(below)
			if err == nil || !strings.Contains(err.Error(), filepath.Join(root, foreign)+" belongs to user 65534, neither to you (0) nor to root") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		})
	}
}

// In a module that everybody can write to, packages and files of another user are not
// built.
func TestForeignPackage(t *testing.T) {
	for _, foreign := range []string{"consumers", "consumers/own/x.go", "own.go"} {
		t.Run(foreign, func(t *testing.T) {
			root := t.TempDir()
			files := []string{filepath.Join(root, "own.go"), filepath.Join(root, "consumers", "own", "x.go")}
			for _, name := range files {
				writeFile(t, name, "package x\n")
			}
			path := filepath.Join(root, foreign)
			give(t, path)
			files = append(files, filepath.Join(root, "none"))
			if err := planted(root, files); err != nil {
				t.Errorf("nobody else can have put it there: %v", err)
			}
			if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := planted(root, files); err == nil || !strings.HasPrefix(err.Error(), path+" belongs to user 65534") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A program is run from the cache only if nobody else can have put it there.
func TestForeignProgram(t *testing.T) {
	environment := "e"
	fill := func(t *testing.T, program string) *cache {
		t.Helper()
		input := filepath.Join(t.TempDir(), "input")
		writeFile(t, input, "")
		c := &cache{dir: t.TempDir()}
		if err := os.Chmod(c.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(c.dir, "bin", "digest", programName), "")
		s := newStamp([]string{input}, nil, environment, time.Now().Add(time.Hour))
		s.Program = program
		if err := s.write(filepath.Join(c.dir, stampFile)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	own := filepath.Join("bin", "digest", programName)
	c := fill(t, own)
	if c.current(environment) == "" {
		t.Fatal("our own program is not used")
	}
	planted := filepath.Join(t.TempDir(), "planted")
	writeFile(t, planted, "")
	up, err := filepath.Rel(c.dir, planted)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{up, planted, "../" + filepath.Base(c.dir) + "/" + own} {
		if got := fill(t, program).current(environment); got != "" {
			t.Errorf("%s: %s was taken", program, got)
		}
	}
	if err := (stamp{Version: stampVersion, Environment: environment, Program: own}).write(filepath.Join(c.dir, stampFile)); err != nil {
		t.Fatal(err)
	}
	if got := c.current(environment); got != "" {
		t.Errorf("a stamp without files is fresh: %s", got)
	}
	for _, foreign := range []string{own, filepath.Dir(own), "bin"} {
		c := fill(t, own)
		give(t, filepath.Join(c.dir, foreign))
		if got := c.current(environment); got != "" {
			t.Errorf("%s of another user: %s was taken", foreign, got)
		}
	}
}

// Where the user's cache is shared, programs are kept in a folder of our own.
func TestSharedCache(t *testing.T) {
	shared := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", shared)
	t.Setenv("TMPDIR", t.TempDir())
	base, err := cacheBase()
	if err != nil || base != filepath.Join(shared, "racecar") {
		t.Fatalf("%s, %v", base, err)
	}
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	if base, err = cacheBase(); err != nil || filepath.Dir(base) != os.Getenv("TMPDIR") {
		t.Errorf("%s, %v", base, err)
	}
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	if base, err = cacheBase(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s, %v", base, err)
	}
}
