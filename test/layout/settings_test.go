package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	saramaPath  = "github.com/IBM/sarama"
	settingFile = "kafka/config.go" // where sarama's settings are made
)

// sarama's settings are made in one file: a setting elsewhere escapes its comments and tests.
func TestSaramaIsConfiguredInOneFile(t *testing.T) {
	l := load(t)
	own, elsewhere := 0, 0
	for _, pkg := range l.packages {
		if !strings.HasPrefix(pkg.ImportPath, module) || !slices.Contains(pkg.Imports, saramaPath) || forTests(pkg.ImportPath) {
			continue
		}
		var files []string
		for _, name := range pkg.GoFiles {
			files = append(files, filepath.Join(pkg.Dir, name))
		}
		for _, found := range l.settings(t, pkg.ImportPath, files, nil) {
			if strings.Contains(filepath.ToSlash(found), "/"+settingFile+":") {
				own++
				continue
			}
			elsewhere++
			t.Errorf("%s: sarama is configured in %s alone", found, settingFile)
		}
	}
	if own < 30 {
		t.Errorf("%d settings found in %s: either it has moved, or this test sees nothing", own, settingFile)
	}
}

// forTests reports whether a package is only for tests and measurements, whose clients are
// sarama as it comes.
func forTests(pkg string) bool {
	dir := strings.TrimPrefix(pkg, module+"/")
	return strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "bench")
}

// Each way to change a setting is seen, and reading one is not.
func TestSettingsAreSeen(t *testing.T) {
	const source = `package p

import (
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
)

func set(c *sarama.Config, k *kafka.Config, s sarama.BalanceStrategy) {
	c.Net.ReadTimeout = time.Second                 // 12
	k.Metadata.Full = true                          // 13
	c.Consumer.Group.Rebalance.GroupStrategies[0] = s // 14
	k.Producer.Retry.Max++                          // 15
	g := &c.Consumer.Group                          // 16
	g.InstanceId = ""                               // 17
	*c = *sarama.NewConfig()                        // 18, twice
	c.Net.MaxOpenRequests, _ = 1, s                 // 19
	_ = sarama.Config{ClientID: "x"}                // 20
}

func read(c *sarama.Config, k *kafka.Config) (time.Duration, *sarama.Config) {
	within := k.Net.ReadTimeout
	own := map[int]int{c.Net.MaxOpenRequests: 1}
	own[c.Net.MaxOpenRequests] = 2
	return within, c
}
`
	l := load(t)
	var lines []string
	for _, found := range l.settings(t, "p", []string{"p.go"}, source) {
		lines = append(lines, strings.Split(found, ":")[1])
	}
	if got, want := strings.Join(lines, " "), "12 13 14 15 16 17 18 18 19 20"; got != want {
		t.Errorf("seen in lines %s, want %s", got, want)
	}
}

// loaded are this module's packages with what they import, and their types.
type loaded struct {
	fset     *token.FileSet
	packages []listed
	imports  types.Importer
	fields   map[*types.Var]bool // of sarama.Config, also nested ones
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

func load(t *testing.T) *loaded {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports", "./...")
	list.Dir = filepath.Join("..", "..")
	list.Stderr = os.Stderr
	out, err := list.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Start(); err != nil {
		t.Fatal(err)
	}
	l := &loaded{fset: token.NewFileSet(), fields: map[*types.Var]bool{}}
	exports := map[string]string{}
	for dec := json.NewDecoder(out); ; {
		var pkg listed
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		l.packages = append(l.packages, pkg)
		exports[pkg.ImportPath] = pkg.Export
	}
	if err := list.Wait(); err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	l.imports = importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	sarama, err := l.imports.Import(saramaPath)
	if err != nil {
		t.Fatal(err)
	}
	l.addFields(sarama.Scope().Lookup("Config").Type().Underlying().(*types.Struct))
	return l
}

func (l *loaded) addFields(s *types.Struct) {
	for f := range s.Fields() {
		l.fields[f] = true
		if nested, ok := f.Type().(*types.Struct); ok {
			l.addFields(nested)
		}
	}
}

// settings returns where files of a package (or source) change a setting of sarama's.
func (l *loaded) settings(t *testing.T, path string, names []string, source any) []string {
	t.Helper()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(l.fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: l.imports}).Check(path, l.fset, files, info); err != nil {
		t.Fatal(err)
	}
	var found []string
	note := func(n ast.Node) {
		p := l.fset.Position(n.Pos())
		found = append(found, fmt.Sprintf("%s:%d", p.Filename, p.Line))
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, changed := range changes(n, info) {
				if l.isSetting(changed, info) {
					note(n)
				}
			}
			if isConfig(n, info) {
				note(n)
			}
			return true
		})
	}
	return found
}

// changes are the expressions that a node assigns or takes the address of.
func changes(n ast.Node, info *types.Info) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	}
	return nil
}

// isSetting reports whether an expression is a field of a sarama.Config, or is in one.
func (l *loaded) isSetting(e ast.Expr, info *types.Info) bool {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			if s := info.Selections[x]; s != nil {
				if v, ok := s.Obj().(*types.Var); ok && l.fields[v] {
					return true
				}
			}
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			if named(info.TypeOf(x)) {
				return true
			}
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return false
		}
	}
}

// isConfig reports whether a node makes a sarama.Config.
func isConfig(n ast.Node, info *types.Info) bool {
	switch n := n.(type) {
	case *ast.CompositeLit:
		return named(info.TypeOf(n))
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		f, isFunc := info.Uses[selected(s, ok)].(*types.Func)
		return isFunc && f.FullName() == saramaPath+".NewConfig"
	}
	return false
}

func selected(s *ast.SelectorExpr, ok bool) *ast.Ident {
	if !ok {
		return nil
	}
	return s.Sel
}

// named reports whether t is sarama.Config.
func named(t types.Type) bool {
	n, ok := t.(*types.Named)
	return ok && n.Obj().Name() == "Config" && n.Obj().Pkg().Path() == saramaPath
}
