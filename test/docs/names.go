package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/racecar-go/racecar/config"
)

// api are the exported names of the packages that users write code against:
// "racecar.Spec", and where the type's parts are known also "racecar.Spec.Name".
type api struct {
	names map[string]bool
	// open are the types whose parts are declared elsewhere.
	open map[string]bool
}

// readAPI reads the packages in these folders of root.
func readAPI(root string, packages ...string) (*api, error) {
	a := &api{names: map[string]bool{}, open: map[string]bool{}}
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return nil, err
			}
			for _, d := range f.Decls {
				a.add(pkg, d)
			}
		}
	}
	return a, nil
}

func (a *api) add(pkg string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := pkg + "."
		if d.Recv != nil {
			t := d.Recv.List[0].Type
			if s, ok := t.(*ast.StarExpr); ok {
				t = s.X
			}
			if i, ok := t.(*ast.IndexExpr); ok {
				t = i.X
			}
			if id, ok := t.(*ast.Ident); ok {
				name += id.Name + "."
			}
		}
		a.names[name+d.Name.Name] = true
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					a.names[pkg+"."+n.Name] = true
				}
			case *ast.TypeSpec:
				a.addType(pkg+"."+s.Name.Name, s.Type)
			}
		}
	}
}

func (a *api) addType(name string, t ast.Expr) {
	a.names[name] = true
	var fields *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields = t.Methods
	default:
		a.open[name] = true
		return
	}
	for _, f := range fields.List {
		if len(f.Names) == 0 {
			a.open[name] = true // what is embedded brings parts of its own
		}
		for _, n := range f.Names {
			a.names[name+"."+n.Name] = true
		}
	}
}

var (
	// qualified is a name of the API in a code span: racecar.Skip(err), *racecar.Message.
	qualified = regexp.MustCompile(`\b(racecar|racecartest|cli)\.([A-Z]\w*)(?:\.([A-Z]\w*))?`)
	// part is one of a type that everybody knows: Spec.MaxRetries.
	part = regexp.MustCompile(`^(Spec|Subscription|Message|ProducerMessage|Runtime|Assignment|ErrorInfo)\.([A-Z]\w*)`)
	// variable is one of racecar's.
	variable = regexp.MustCompile(`\bRACECAR_[A-Z][A-Z_]*[A-Z]\b`)
)

// unknownNames says which names of the API the page's code spans give that there
// are not.
func (p *page) unknownNames(a *api) []string {
	var wrong []string
	check := func(s span, name, member string) {
		switch {
		case strings.Contains(name, ".Test"): // config's tests look for those
		case !a.names[name]:
			wrong = append(wrong, fmt.Sprintf("%s: there is no %s", p.at(s.line), name))
		case member != "" && !a.open[name] && !a.names[name+"."+member]:
			wrong = append(wrong, fmt.Sprintf("%s: there is no %s.%s", p.at(s.line), name, member))
		}
	}
	for _, s := range p.spans {
		for _, m := range qualified.FindAllStringSubmatch(s.code, -1) {
			check(s, m[1]+"."+m[2], m[3])
		}
		if m := part.FindStringSubmatch(s.code); m != nil {
			check(s, "racecar."+m[1], m[2])
		}
	}
	return wrong
}

// unknownVariables says which RACECAR_ variables the page names that are no keys.
func (p *page) unknownVariables(root string) ([]string, error) {
	known := map[string]bool{
		"RACECAR_ENV": true, "RACECAR_CONFIG": true,
		"RACECAR_INTERNAL_ROLE": true, // docs/internals.md
	}
	for _, k := range config.Keys() {
		known[k.Env] = true
	}
	source, err := os.ReadFile(filepath.Join(root, p.name))
	if err != nil {
		return nil, err
	}
	var wrong []string
	for i, line := range strings.Split(string(source), "\n") {
		for _, name := range variable.FindAllString(line, -1) {
			if !known[name] {
				wrong = append(wrong, fmt.Sprintf("%s: there is no variable %s", p.at(i+1), name))
			}
		}
	}
	return wrong, nil
}
