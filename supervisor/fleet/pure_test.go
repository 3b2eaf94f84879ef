package fleet

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The fleet makes no system call, has no clock and starts no goroutine: the same events
// at the same times have the same effects.
func TestFleetIsPure(t *testing.T) {
	allowed := []string{
		"errors", "fmt", "iter", "log/slog", "maps", "slices", "strings", "syscall", "time",
		"github.com/racecar-go/racecar/config",
		"github.com/racecar-go/racecar/internal/scoreboard", "github.com/racecar-go/racecar/internal/status", "github.com/racecar-go/racecar/internal/wire",
	}
	ofTime := []string{"Duration", "Time", "Second", "Minute", "Hour", "Millisecond", "Nanosecond", "TimeOnly"}
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		checked++
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: a goroutine or channel", files.Position(n.Pos()))
			case *ast.SelectorExpr:
				pkg, _ := n.X.(*ast.Ident)
				if pkg == nil || pkg.Obj != nil {
					break
				}
				if pkg.Name == "time" && !slices.Contains(ofTime, n.Sel.Name) || pkg.Name == "syscall" && !strings.HasPrefix(n.Sel.Name, "S") {
					t.Errorf("%s: %s.%s", files.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
	if checked < 10 {
		t.Errorf("%d files", checked)
	}
}
