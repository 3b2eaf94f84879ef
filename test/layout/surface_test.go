package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bounds are the public packages and the most names that each may export at package
// level.
var bounds = map[string]int{
	"racecar":       68,
	"racecar/event": 32,
	"racecartest":   25,
	"cli":           5,
	"config":        60,
	"heroku":        1,
	"otel":          2,
}

// What a public package exports is a promise: a name is added on purpose, with a line in
// testdata/exported.txt.
func TestExportedNames(t *testing.T) {
	listed := map[string][]string{} // by package
	b, err := os.ReadFile("testdata/exported.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if pkg, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && pkg != "#" {
			listed[pkg] = append(listed[pkg], name)
		}
	}
	for pkg, bound := range bounds {
		names := exported(t, filepath.Join("..", "..", pkg))
		n := 0
		for _, name := range names {
			if !strings.Contains(name, ".") {
				n++
			}
			if !slices.Contains(listed[pkg], name) {
				t.Errorf("%s exports %s, which is not in testdata/exported.txt: unexport it, or add the line if it is meant to be kept for good", pkg, name)
			}
		}
		if n > bound {
			t.Errorf("%s exports %d names, %d at most", pkg, n, bound)
		}
		for _, name := range listed[pkg] {
			if !slices.Contains(names, name) {
				t.Errorf("testdata/exported.txt lists %s %s, which does not exist", pkg, name)
			}
		}
		delete(listed, pkg)
	}
	for pkg := range listed {
		t.Errorf("testdata/exported.txt lists package %s, which has no bound", pkg)
	}
}

// exported returns the names that the package in dir exports, in order: those of package
// level as they are, methods as Type.Method.
func exported(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	add := func(of string, name *ast.Ident) {
		if name.IsExported() && (of == "" || ast.IsExported(strings.TrimSuffix(of, "."))) {
			names = append(names, of+name.Name)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(receiver(d), d.Name)
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						add("", s.Name)
						if i, ok := s.Type.(*ast.InterfaceType); ok && s.Name.IsExported() {
							for _, m := range i.Methods.List {
								for _, name := range m.Names {
									add(s.Name.Name+".", name)
								}
							}
						}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							add("", name)
						}
					}
				}
			}
		}
	}
	if len(files) == 0 {
		t.Fatalf("%s has no package", dir)
	}
	slices.Sort(names)
	return names
}

// receiver is the type that a method belongs to, with a dot; empty for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if i, ok := e.(*ast.IndexExpr); ok {
		e = i.X
	}
	return e.(*ast.Ident).Name + "."
}
