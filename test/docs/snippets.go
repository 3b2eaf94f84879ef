package docs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/racecar-go/racecar/config"
)

// known are the packages whose imports a snippet may leave out.
var known = map[string]string{
	"bytes": "bytes", "context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http",
	"io": "io", "json": "encoding/json", "log": "log", "os": "os", "slog": "log/slog", "sql": "database/sql",
	"slices": "slices", "strconv": "strconv", "strings": "strings", "sync": "sync", "testing": "testing", "time": "time",
	"racecar":     "github.com/racecar-go/racecar/racecar",
	"racecartest": "github.com/racecar-go/racecar/racecartest",
	"cli":         "github.com/racecar-go/racecar/cli",
	"prometheus":  "github.com/prometheus/client_golang/prometheus",
	"promauto":    "github.com/prometheus/client_golang/prometheus/promauto",
	"sarama":      "github.com/IBM/sarama",
}

// filePath is a comment that says where a block of Go belongs.
var filePath = regexp.MustCompile(`^// ([\w./-]+\.go)\b`)

// goFile makes a file of a block: where it belongs in its page's module, and its
// text. An empty text means that there is nothing to compile; err is a mistake of
// syntax.
func (p *page) goFile(root string, b block, number int) (name, text string, err error) {
	name = fmt.Sprintf("snippet%d/snippet.go", number)
	line := fmt.Sprintf("//line %s:%d\n", filepath.Join(root, p.name), b.line)
	full, fullErr := parser.ParseFile(token.NewFileSet(), "", b.code, parser.PackageClauseOnly|parser.ParseComments)
	if fullErr == nil {
		if len(full.Comments) > 0 && full.Comments[0].Pos() < full.Package {
			if path := filePath.FindStringSubmatch(full.Comments[0].List[0].Text); path != nil {
				name = filepath.Clean(path[1])
			}
		}
		return name, line + b.code + "\n" + b.with, nil
	}
	body := line + b.code + "\n" + b.with
	if _, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\n"+b.code, 0); err == nil {
		text, err := withImports(body)
		return name, text, err
	}
	if !endsInReturn(b.code) {
		b.code += "\nreturn nil"
	}
	body = "func _(ctx context.Context, m *racecar.Message) error {\n" + line + b.code + "\n}\n" + b.with
	text, err = withImports(body)
	if err != nil {
		return "", "", err // it says where
	}
	if b.with == "" {
		return "", "", nil
	}
	return name, text, nil
}

// endsInReturn says whether the last of some statements is a return.
func endsInReturn(code string) bool {
	f, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\nfunc _() error {\n"+code+"\n}", 0)
	if err != nil {
		return false // which withImports finds as well
	}
	body := f.Decls[0].(*ast.FuncDecl).Body.List
	if len(body) == 0 {
		return false
	}
	_, ok := body[len(body)-1].(*ast.ReturnStmt)
	return ok
}

// withImports puts a package clause and the imports of known packages before
// declarations.
func withImports(body string) (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "", "package snippet\n"+body, 0)
	if err != nil {
		return "", err
	}
	var imports []string
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := s.X.(*ast.Ident)
		if !ok || !slices.Contains(f.Unresolved, x) {
			return true
		}
		if path := known[x.Name]; path != "" && !slices.Contains(imports, path) {
			imports = append(imports, path)
		}
		return true
	})
	text := "package snippet\n"
	for _, path := range imports {
		text += fmt.Sprintf("import %q\n", path)
	}
	return text + body, nil
}

// writeSnippets writes the page's Go as a module into dir and says how many files
// there are. problems are mistakes found already here.
func (p *page) writeSnippets(root, dir string) (files int, problems []string, err error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, nil, err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return 0, nil, err
	}
	const path = "github.com/racecar-go/racecar"
	own := strings.Replace(string(mod), "module "+path, "module example.com/app", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\nreplace %s => %s\n", path, path, root)
	write := map[string]string{"go.mod": own, "go.sum": string(sum)}
	for i, b := range p.blocks {
		if b.lang != "go" {
			continue
		}
		name, text, err := p.goFile(root, b, i)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		if text == "" {
			continue
		}
		if write[name] != "" {
			problems = append(problems, fmt.Sprintf("%s: %s is there twice", p.at(b.line), name))
		}
		write[name] = text
		files++
	}
	for name, text := range write {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return 0, nil, err
		}
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return 0, nil, err
		}
	}
	return files, problems, nil
}

// badYAML says which blocks of YAML cannot be read, by racecar where they are its
// configuration.
func (p *page) badYAML(dir string) []string {
	var wrong []string
	for _, b := range p.blocks {
		if b.lang != "yaml" && b.lang != "yml" {
			continue
		}
		sections, err := topLevel(b.code)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", p.at(b.line), err))
			continue
		}
		if first, _, _ := strings.Cut(b.code, "\n"); strings.TrimSpace(first) != "# config/racecar.yml" {
			continue
		}
		file := filepath.Join(dir, "racecar.yml")
		if err := os.WriteFile(file, []byte(b.code), 0o600); err != nil {
			return append(wrong, err.Error())
		}
		for _, section := range sections {
			environ := []string{"RACECAR_ENV=" + section}
			if section == "common" {
				environ = nil
			}
			_, err := config.Load(config.Options{Dir: dir, File: file, FileGiven: true, Environ: environ})
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: as %s: %v", p.at(b.line), section, err))
			}
		}
	}
	return wrong
}

// topLevel reads all documents of a YAML text and returns the keys of the first.
func topLevel(text string) ([]string, error) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var keys []string
	for n := 0; ; n++ {
		var doc any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return keys, nil
		case err != nil:
			return nil, err
		}
		if m, ok := doc.(map[string]any); ok && n == 0 {
			for k := range m {
				keys = append(keys, k)
			}
			slices.Sort(keys)
		}
	}
}
