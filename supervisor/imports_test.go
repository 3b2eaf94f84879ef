package supervisor

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The packages of the supervisor import each other one way only.
func TestImportsRunOneWay(t *testing.T) {
	const prefix = "github.com/racecar-go/racecar/supervisor"
	may := map[string][]string{
		"fleet":   {},
		"process": {"fleet"},
		"daemon":  {},
		".":       {"fleet", "process"},
	}
	for dir, allowed := range may {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s has no files: %v", dir, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range file.Imports {
				name, _ := strconv.Unquote(i.Path.Value)
				rest, ours := strings.CutPrefix(name, prefix)
				if ours && !slices.Contains(allowed, strings.TrimPrefix(rest, "/")) {
					t.Errorf("%s imports %s", path, name)
				}
			}
		}
	}
}
