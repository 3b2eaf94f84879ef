package words

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// finding is a retired word in a file.
type finding struct {
	path string
	line int
	text string
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.path, f.line, f.text) }

// scan looks for the table's words in all files below root.
func scan(root string, table []word) ([]finding, error) {
	var all []finding
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "testdata", "bin", "node_modules"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found, err := scanFile(path, filepath.ToSlash(name), table)
		all = append(all, found...)
		return err
	})
	return all, err
}

func scanFile(path, name string, table []word) ([]finding, error) {
	if within(name, "test/words") || !checked(name) {
		return nil, nil
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := scanner{path: name, table: table}
	switch filepath.Ext(name) {
	case ".go":
		return s.goFile(source)
	case ".md":
		s.markdown(source)
	default:
		s.hashComments(source)
	}
	return s.found, nil
}

// checked reports whether the file is written by us and holds words.
func checked(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".md", ".yml", ".yaml", ".tmpl", ".service":
		return true
	}
	return within(name, ".ci") || slices.Contains([]string{"Makefile", "deploy/Dockerfile", "deploy/runit/racecar/run"}, name)
}

type scanner struct {
	path  string
	table []word
	found []finding
}

func (s *scanner) add(line int, format string, args ...any) {
	s.found = append(s.found, finding{s.path, line, fmt.Sprintf(format, args...)})
}

func (s *scanner) text(line int, place, text string) {
	for _, w := range s.table {
		if !w.refusedIn(place) || w.allowedAt(s.path) {
			continue
		}
		if found := w.find(text); found != "" {
			s.add(line, "%q in %s: …%s…: write %s", w.retired, place, strings.Join(strings.Fields(found), " "), w.instead)
		}
	}
}

func (s *scanner) identifier(line int, id identifier) {
	for _, w := range s.table {
		if !w.allowedAt(s.path) && w.inIdentifier(id) {
			s.add(line, "%q in identifier %s: write %s", w.retired, id.Name, w.instead)
		}
	}
}

func (s *scanner) parameter(line int, id string) {
	for _, w := range s.table {
		if w.refusedIn(inParam) && !w.allowedAt(s.path) && w.name.FindString(id) == id {
			s.add(line, "%q as a parameter or variable: write %s", id, w.instead)
		}
	}
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func (s *scanner) goFile(source []byte) ([]finding, error) {
	if generated.Match(source) {
		return nil, nil
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, s.path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	line := func(n ast.Node) int { return files.Position(n.Pos()).Line }
	for _, c := range f.Comments {
		s.text(line(c), inProse, c.Text())
	}
	for _, id := range declared(f) {
		s.identifier(line(id), id)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && !strings.HasSuffix(s.path, "_test.go") {
				s.text(line(n), inText, text)
			}
		case *ast.FuncType:
			for _, p := range n.Params.List {
				for _, id := range p.Names {
					s.parameter(line(id), id.Name)
				}
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if id, ok := left.(*ast.Ident); ok && n.Tok == token.DEFINE {
					s.parameter(line(id), id.Name)
				}
			}
		}
		return true
	})
	return s.found, nil
}

// identifier is a declared name; value says that it is a field, constant or variable.
type identifier struct {
	*ast.Ident
	value bool
}

// declared lists the names of a file's types, functions, methods, fields and package-level
// constants and variables.
func declared(f *ast.File) []identifier {
	var all []identifier
	add := func(value bool, names ...*ast.Ident) {
		for _, n := range names {
			all = append(all, identifier{n, value})
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(false, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					add(false, spec.Name)
				case *ast.ValueSpec:
					add(true, spec.Names...)
				}
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, field := range n.Fields.List {
				add(true, field.Names...)
			}
		case *ast.InterfaceType:
			for _, method := range n.Methods.List {
				add(false, method.Names...)
			}
		}
		return true
	})
	return all
}

var codeSpan = regexp.MustCompile("`[^`]*`")

// markdown checks each paragraph, without code.
func (s *scanner) markdown(source []byte) {
	var paragraph []string
	first, fenced := 0, false
	flush := func() {
		if len(paragraph) > 0 {
			s.text(first, inProse, codeSpan.ReplaceAllString(strings.Join(paragraph, "\n"), "`·`"))
		}
		paragraph = nil
	}
	for n, line := range lines(source) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "```") {
			flush()
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") && len(paragraph) == 0 {
			continue
		}
		if trimmed == "" || strings.HasPrefix(trimmed, "- ") || strings.HasPrefix(trimmed, "|") || strings.HasPrefix(trimmed, "#") {
			flush()
		}
		if trimmed != "" {
			if len(paragraph) == 0 {
				first = n + 1
			}
			paragraph = append(paragraph, trimmed)
		}
	}
	flush()
}

// hashComments checks what stands behind # or // in YAML, scripts and templates.
func (s *scanner) hashComments(source []byte) {
	for n, line := range lines(source) {
		for _, mark := range []string{"# ", "// "} {
			if _, comment, ok := strings.Cut(line, mark); ok {
				s.text(n+1, inProse, comment)
				break
			}
		}
	}
}

func lines(source []byte) []string {
	var all []string
	scanner := bufio.NewScanner(bytes.NewReader(source))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		all = append(all, scanner.Text())
	}
	return all
}
