package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/modfile"
)

// writeModfile writes a copy of the module's go.mod and go.sum that knows
// racecar, for a build that may complete it, and returns its name. The
// module's own files stay as they are. Where racecar comes from:
//
//   - what go.mod says of it, if it says anything;
//   - else the checkout or version that this launcher was built from.
func writeModfile(m *module, from source, dir string) (string, error) {
	f, err := modfile.Parse(filepath.Join(m.root, "go.mod"), m.raw, nil)
	if err != nil {
		return "", err
	}
	if !m.knowsRacecar() {
		if err := addRacecar(f, from); err != nil {
			return "", err
		}
	}
	text, err := f.Format()
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return "", err
	}
	sum, err := os.ReadFile(filepath.Join(m.root, "go.sum"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return name, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600)
}

// unpublished is the version that stands for a checkout in a requirement.
const unpublished = "v0.0.0-00010101000000-000000000000"

// addRacecar requires racecar, replaced by the checkout if that is its source.
func addRacecar(f *modfile.File, from source) error {
	switch {
	case from.version != "":
		return f.AddRequire(racecarPath, from.version)
	case from.dir != "":
		if err := f.AddRequire(racecarPath, unpublished); err != nil {
			return err
		}
		return f.AddReplace(racecarPath, "", from.dir, "")
	}
	return fmt.Errorf("%s does not require %s, and this racecar does not know where it came from: add it with `go get %s`", f.Syntax.Name, racecarPath, racecarPath)
}
