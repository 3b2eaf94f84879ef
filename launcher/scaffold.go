package launcher

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
)

//go:embed templates
var templates embed.FS

// scaffold writes new files into a module and says what it did.
type scaffold struct {
	root  string
	force bool // overwrite what is there
	out   io.Writer
}

// add makes a file of a template, unless it is there.
func (s *scaffold) add(name, from string, data any) error {
	text, err := render(from, data)
	if err != nil {
		return err
	}
	to := filepath.Join(s.root, filepath.FromSlash(name))
	old, err := os.ReadFile(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.say("create", name)
	case err != nil:
		return err
	case bytes.Equal(old, text):
		s.say("same", name)
		return nil
	case !s.force:
		s.say("keep", name+" (it is there; --force overwrites it)")
		return nil
	default:
		s.say("force", name)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// refuse is an error when add would leave a file as it is: somebody has worked on it.
func (s *scaffold) refuse(name, from string, data any) error {
	old, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)))
	switch {
	case errors.Is(err, fs.ErrNotExist), s.force && err == nil:
		return nil
	case err != nil:
		return err
	}
	if text, err := render(from, data); err != nil || bytes.Equal(old, text) {
		return err
	}
	return fmt.Errorf("%s is there and was changed: --force overwrites it", name)
}

func (s *scaffold) say(did, what string) { fmt.Fprintf(s.out, "%10s  %s\n", did, what) }

// render fills in a template; Go files come out formatted.
func render(from string, data any) ([]byte, error) {
	t, err := template.New(from).Delims("<%", "%>").ParseFS(templates, "templates/"+from)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, from, data); err != nil {
		return nil, err
	}
	if strings.HasSuffix(from, ".go.tmpl") {
		return format.Source(b.Bytes())
	}
	return b.Bytes(), nil
}

// requireRacecar makes the module know racecar, if it does not, and everything
// that programs and tests need of it.
func (s *scaffold) requireRacecar(ctx context.Context, g *goTool, m *module, from source) error {
	name := filepath.Join(m.root, "go.mod")
	if !m.knowsRacecar() {
		f, err := modfile.Parse(name, m.raw, nil)
		if err != nil {
			return err
		}
		if err := addRacecar(f, from); err != nil {
			return err
		}
		text, err := f.Format()
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
		s.say("require", racecarPath+" in go.mod")
		if from.dir != "" {
			s.say("replace", racecarPath+" by "+from.dir)
		}
	}
	if m.path == racecarPath {
		return nil
	}
	before, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	version, err := requiredVersion(name, before)
	if err != nil {
		return err
	}
	// Of the command, which has all that programs and tests need; `go mod tidy`
	// would want the tests of all dependencies as well.
	done := showProgress(os.Stderr, "=> Fetching what racecar needs")
	_, err = g.plain(ctx, "get", racecarPath+"@"+version)
	done()
	if err != nil {
		return fmt.Errorf("go.mod requires %s; completing it:\n%w", racecarPath, err)
	}
	after, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		s.say("complete", "go.mod, go.sum")
	}
	return nil
}

// requiredVersion is that of racecar in a go.mod which requires it.
func requiredVersion(name string, text []byte) (string, error) {
	f, err := modfile.ParseLax(name, text, nil)
	if err != nil {
		return "", err
	}
	for _, r := range f.Require {
		if r.Mod.Path == racecarPath {
			return r.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", name, racecarPath)
}
