package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// consumersDir is what is built when --require names nothing.
const consumersDir = "consumers"

// errNoConsumers says that there is nothing to build.
type errNoConsumers struct{ m *module }

func (e *errNoConsumers) Error() string {
	return fmt.Sprintf("module %s has no folder %s: make a consumer with `racecar generate consumer NAME`, or name a package with --require DIR",
		e.m.path, filepath.Join(e.m.root, consumersDir))
}

// required is a directory to take packages from; with below, all packages in
// and under it.
type required struct {
	dir   string // absolute
	below bool
	typed string // as on the command line; empty: the default
}

// requiredDirs reads the values of --require. `DIR` is one package, `DIR/...`
// all packages in and below it; without any it is `consumers/...` of the module.
func requiredDirs(m *module, a arguments, cwd string) ([]required, error) {
	var all []required
	for _, typed := range a.require {
		dir, below := strings.CutSuffix(filepath.ToSlash(typed), "/...")
		dir = filepath.FromSlash(dir)
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(cwd, dir)
		}
		switch info, err := os.Stat(dir); {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("--require %s: there is no such directory", typed)
		case err != nil:
			return nil, fmt.Errorf("--require %s: %w", typed, err)
		case !info.IsDir():
			return nil, fmt.Errorf("--require %s: it is a file; name the directory of its package", typed)
		}
		if _, err := m.importPath(dir); err != nil {
			return nil, fmt.Errorf("--require %s: %w", typed, err)
		}
		all = append(all, required{dir: filepath.Clean(dir), below: below, typed: typed})
	}
	if len(all) > 0 || a.withoutConsumers {
		slices.SortFunc(all, func(x, y required) int { return strings.Compare(x.dir, y.dir) }) // one cache for any order
		return all, nil
	}
	dir := filepath.Join(m.root, consumersDir)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, &errNoConsumers{m}
	}
	return []required{{dir: dir, below: true}}, nil
}

// patterns are the go command's names for the directories.
func patterns(all []required) []string {
	var p []string
	for _, r := range all {
		if r.below {
			p = append(p, r.dir+"/...")
		} else {
			p = append(p, r.dir)
		}
	}
	return p
}

// what names the directories for a message.
func what(all []required) string {
	var names []string
	for _, r := range all {
		if r.typed == "" {
			names = append(names, consumersDir)
		} else {
			names = append(names, r.typed)
		}
	}
	return strings.Join(names, ", ")
}

// resolve finds the import paths of the packages to build.
func resolve(ctx context.Context, g *goTool, m *module, all []required) ([]string, error) {
	if len(all) == 0 {
		return nil, nil
	}
	listed, err := g.list(ctx, patterns(all)...)
	if err != nil {
		return nil, err
	}
	named := map[string]string{} // by directory: without /...
	for _, r := range all {
		if !r.below {
			named[r.dir] = r.typed
		}
	}
	var paths []string
	reason := ""
	for _, p := range listed {
		typed, one := named[p.Dir]
		switch {
		case one && p.Name == "main":
			return nil, fmt.Errorf("--require %s: it is a program (package main) and cannot be imported; move the consumers to a package of their own", typed)
		case one && p.Name == "":
			return nil, fmt.Errorf("--require %s: no Go files of a package are in it%s", typed, p.reason())
		case one:
		case p.Name == "main":
			continue
		case p.Name == "":
			reason = p.reason()
			continue
		case below(m, all, p):
			continue // a helper that consumers import themselves
		}
		paths = append(paths, p.ImportPath)
	}
	if len(paths) == 0 && reason != "" {
		return nil, fmt.Errorf("there is no Go package in %s%s", what(all), reason)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no Go package in %s: make a consumer with `racecar generate consumer NAME`, or name a package with --require DIR", what(all))
	}
	return paths, nil
}

// below reports whether a package lies in an "internal" folder under the
// directory that brought it in: it is for its neighbours.
func below(m *module, all []required, p goPackage) bool {
	for _, r := range all {
		rel, err := filepath.Rel(r.dir, p.Dir)
		if err != nil || !r.below || strings.HasPrefix(rel, "..") {
			continue
		}
		if strings.Contains("/"+filepath.ToSlash(rel)+"/", "/internal/") {
			return true
		}
	}
	return false
}
