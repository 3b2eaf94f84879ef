package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bounds are the public packages of docs/compatibility.md and the most names that each may
// export at package level.
var bounds = map[string]int{
	"racecar":       68,
	"racecar/event": 32,
	"racecartest":   28,
	"cli":           2,
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

// Whoever finds a package at the top level learns from its doc whether it is public.
func TestDocsSayWhatIsNotCovered(t *testing.T) {
	list := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.Name}} {{.Dir}}", "./...")
	list.Dir = filepath.Join("..", "..")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pkg, top := strings.TrimPrefix(f[0], module+"/"), ""
		if top, _, _ = strings.Cut(pkg, "/"); f[1] == "main" || slices.Contains([]string{"internal", "test", "bench", "examples", "tools"}, top) {
			continue
		}
		_, public := bounds[pkg]
		named := pkg
		if !public {
			named = top // packages below it are meant, too
		}
		if !strings.Contains(string(page), "`"+named+"`") {
			t.Errorf("docs/compatibility.md does not say whether %s is covered", pkg)
		}
		if says := strings.Contains(firstParagraph(t, f[2]), "not covered by the compatibility promise"); says == public {
			t.Errorf("%s is public: %t; the first paragraph of its doc says that it is not covered: %t", pkg, public, says)
		}
	}
}

// firstParagraph returns that of a package's doc.
func firstParagraph(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil && strings.HasPrefix(f.Doc.Text(), "Package ") {
			first, _, _ := strings.Cut(f.Doc.Text(), "\n\n")
			return strings.Join(strings.Fields(first), " ")
		}
	}
	return ""
}

// Libraries can be replaced as long as no public name shows their types.
func TestLibrariesDoNotShow(t *testing.T) {
	for pkg := range bounds {
		doc := exec.Command("go", "doc", "-all", "./"+pkg)
		doc.Dir = filepath.Join("..", "..")
		out, err := doc.Output()
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		for line := range strings.Lines(string(out)) {
			code, _, _ := strings.Cut(line, "//")
			for _, library := range []string{"sarama", "kong", "kgo", "kmsg", "kfake", "logrus", "prometheus"} {
				if strings.Contains(code, library+".") && !strings.HasPrefix(strings.TrimSpace(line), "github.com") {
					t.Errorf("%s shows %s: %s", pkg, library, line)
				}
			}
		}
	}
}

// The headings of package racecar fit two screens.
func TestGoDocIsShort(t *testing.T) {
	doc := exec.Command("go", "doc", "./racecar")
	doc.Dir = filepath.Join("..", "..")
	out, err := doc.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "\n"); n > 110 {
		t.Errorf("%d lines", n)
	}
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
