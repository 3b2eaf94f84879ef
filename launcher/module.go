package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/racecar-go/racecar/internal/owner"
)

// racecarPath is the module that programs are built with.
const racecarPath = "github.com/racecar-go/racecar"

// errNoModule says that there is no go.mod to be found.
var errNoModule = errors.New("no go.mod here or in a folder above: stand in your application's module, or begin one with `racecar install`")

// module is the Go module that a program is built in.
type module struct {
	root string // absolute
	path string // "example.com/app"
	file *modfile.File
	raw  []byte // of go.mod
}

// workingDir is the current directory, as it was typed.
func workingDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("the working directory cannot be used, it was removed or replaced: change to it again (%w)", err)
	}
	return dir, nil
}

// findModule looks for go.mod in dir and above it.
func findModule(dir string) (*module, error) {
	if !filepath.IsAbs(dir) {
		cwd, err := workingDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cwd, dir)
	}
	for {
		name := filepath.Join(dir, "go.mod")
		raw, err := os.ReadFile(name)
		switch {
		case err == nil:
			if err := trusted(name); err != nil {
				return nil, err
			}
			return readModule(name, raw)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, errNoModule
		}
		dir = parent
	}
}

// trusted refuses a module that another user may have left above the working
// directory, as git refuses repositories: building it runs what it says. The same
// for a workspace that the go command would heed.
func trusted(goMod string) error {
	root := filepath.Dir(goMod)
	for _, name := range append([]string{goMod, root}, workspaceFiles(root)...) {
		if err := owner.Trusted(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// planted refuses what another user has put among the inputs of a build where everybody
// can write: in /tmp, a module may be ours and its folder of consumers a stranger's.
func planted(root string, inputs []string) error {
	seen := map[string]bool{}
	for _, path := range inputs {
		for !seen[path] {
			seen[path] = true
			if err := owner.NotPlanted(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if !strings.HasPrefix(path, root+string(filepath.Separator)) {
				break
			}
			path = filepath.Dir(path)
		}
	}
	return nil
}

func readModule(name string, raw []byte) (*module, error) {
	// Lax: a newer go command may know more of the file than we do.
	f, err := modfile.ParseLax(name, raw, nil)
	if err != nil {
		return nil, err
	}
	if f.Module == nil {
		return nil, fmt.Errorf("%s: it names no module", name)
	}
	return &module{root: filepath.Dir(name), path: f.Module.Mod.Path, file: f, raw: raw}, nil
}

// knowsRacecar says whether the module is racecar or requires it.
func (m *module) knowsRacecar() bool {
	if m.path == racecarPath {
		return true
	}
	for _, r := range m.file.Require {
		if r.Mod.Path == racecarPath {
			return true
		}
	}
	return false
}

// forgetCheckout drops what go.mod says of racecar, in memory: a release is about to
// be required in its place.
func (m *module) forgetCheckout() error {
	f, err := modfile.Parse(filepath.Join(m.root, "go.mod"), m.raw, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(f.DropRequire(racecarPath), f.DropReplace(racecarPath, "")); err != nil {
		return err
	}
	f.Cleanup()
	m.file = f
	m.raw, err = f.Format()
	return err
}

// importPath is that of a directory in the module.
func (m *module) importPath(dir string) (string, error) {
	rel, err := filepath.Rel(m.root, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is not in module %s (%s)", dir, m.path, m.root)
	}
	if rel == "." {
		return m.path, nil
	}
	return m.path + "/" + filepath.ToSlash(rel), nil
}
