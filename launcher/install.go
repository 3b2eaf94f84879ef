package launcher

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/mod/semver"
)

// installCommand is `racecar install`.
type installCommand struct {
	Force   bool   `help:"Overwrite files that are there"`
	Module  string `placeholder:"PATH" help:"Path of a new module, where there is no go.mod (default: the folder's name)"`
	Release string `placeholder:"VERSION" help:"Require this release of racecar (v1.2.3), in place of a checkout"`
}

func (installCommand) Help() string {
	return `It writes config/racecar.yml, consumers/, main.go, Procfile, .gitignore and compose.yaml into the module you stand in, or begins one, and makes go.mod require racecar.

Example: mkdir dance && cd dance && racecar install && racecar generate consumer TapDance`
}

// Run sets up a module.
func (c *installCommand) Run() error {
	from := ownSource()
	if c.Release != "" {
		if !semver.IsValid(c.Release) {
			return fmt.Errorf("--release %s: write a version such as v1.2.3", c.Release)
		}
		from = source{version: c.Release}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cwd, err := workingDir()
	if err != nil {
		return err
	}
	g, err := findGo(cwd)
	if err != nil {
		return err
	}
	s := &scaffold{root: cwd, force: c.Force, out: os.Stdout}
	m, err := c.module(ctx, s, g, cwd)
	if err != nil {
		return err
	}
	s.root = m.root
	g.dir = m.root
	data := map[string]any{"Module": m.path, "Name": programBase(m.path), "Consumers": m.path + "/" + consumersDir}
	for _, f := range []struct{ name, from string }{
		{"config/racecar.yml", "racecar.yml.tmpl"},
		{consumersDir + "/consumers.go", "consumers.go.tmpl"},
		{"Procfile", "Procfile.tmpl"},
		{".gitignore", "gitignore.tmpl"},
		{"compose.yaml", "compose.yaml.tmpl"},
	} {
		if err := s.add(f.name, f.from, data); err != nil {
			return err
		}
	}
	if err := c.addMain(s, m, data); err != nil {
		return err
	}
	if c.Release != "" {
		if err := m.forgetCheckout(); err != nil {
			return err
		}
	}
	if err := s.requireRacecar(ctx, g, m, from); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\nNext: racecar generate consumer TapDance\n")
	return nil
}

// module finds the module or begins one.
func (c *installCommand) module(ctx context.Context, s *scaffold, g *goTool, cwd string) (*module, error) {
	m, err := findModule(cwd)
	if err == nil && c.Module != "" && c.Module != m.path {
		return nil, fmt.Errorf("--module %s: %s is there and names module %s", c.Module, filepath.Join(m.root, "go.mod"), m.path)
	}
	if !errors.Is(err, errNoModule) {
		return m, err
	}
	path := c.Module
	if path == "" {
		path = modulePathFor(filepath.Base(cwd))
	}
	switch standard, err := g.isStandard(ctx, path); {
	case err != nil:
		return nil, err
	case standard && c.Module != "":
		return nil, fmt.Errorf("--module %s: the standard library has packages of that name: write a path such as example.com/%s", path, path)
	case standard:
		path += "-consumers"
	}
	if _, err := g.plain(ctx, "mod", "init", path); err != nil {
		return nil, fmt.Errorf("go mod init %s: %w", path, err)
	}
	s.say("create", "go.mod (module "+path+")")
	return findModule(cwd)
}

// modulePathFor makes a module path of a folder's name.
func modulePathFor(folder string) string {
	clean := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_~", r)) {
			return unicode.ToLower(r)
		}
		return '-'
	}, folder)
	if clean = strings.Trim(clean, "-"); clean == "" {
		return "consumers"
	}
	return clean
}

// programBase is the name that the go command gives the program.
func programBase(modulePath string) string {
	base := modulePath[strings.LastIndex(modulePath, "/")+1:]
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" && strings.Contains(modulePath, "/") {
		return programBase(strings.TrimSuffix(modulePath, "/"+base)) // a major version
	}
	return base
}

// addMain writes main.go: into the module's root, unless another package is
// there; not at all where the root is a program already.
func (c *installCommand) addMain(s *scaffold, m *module, data any) error {
	files, err := filepath.Glob(filepath.Join(m.root, "*.go"))
	if err != nil {
		return err
	}
	program := ""
	for _, f := range files {
		if filepath.Base(f) == "main.go" || strings.HasSuffix(f, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.PackageClauseOnly)
		if err != nil || parsed.Name.Name != "main" { // one that cannot be read is not ours to break
			return s.add("cmd/racecar/main.go", "main.go.tmpl", data)
		}
		program = filepath.Base(f)
	}
	if program != "" && !slices.Contains(files, filepath.Join(m.root, "main.go")) {
		s.say("leave out", "main.go (package main is in "+program+"; `racecar build` makes a program without it)")
		return nil
	}
	return s.add("main.go", "main.go.tmpl", data)
}
