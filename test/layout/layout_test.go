// Package layout holds the arrows between packages also for what is imported
// indirectly, which .golangci.yml cannot see.
package layout

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/racecar-go/racecar"

// embedded is what only the racecar command and tests contain.
var embedded = []string{module + "/devkafka", "github.com/twmb/franz-go/pkg/kfake"}

func TestNothingReachesUp(t *testing.T) {
	tests := []struct {
		pkg   string
		never []string
	}{
		{"config", []string{"github.com/IBM/sarama", module + "/kafka", module + "/racecar"}},
		{"kafka/access", []string{module + "/kafka", module + "/kafka/fetch", module + "/kafka/producer"}},
		{"kafka", []string{module + "/kafka/fetch", module + "/kafka/producer", module + "/racecar", module + "/worker", module + "/supervisor"}},
		{"kafka/fetch", slices.Concat(embedded, []string{module + "/worker", module + "/supervisor", module + "/ctl", module + "/cli"})},
		{"kafka/producer", []string{module + "/kafka/fetch", module + "/racecar", module + "/worker"}},
		{"racecar", slices.Concat(embedded, []string{module + "/racecartest", "testing", module + "/worker", module + "/supervisor", module + "/ctl", module + "/cli"})},
		{"worker", slices.Concat(embedded, []string{module + "/supervisor", module + "/pidfile", module + "/ctl", "github.com/sevlyar/go-daemon"})},
		{"supervisor", slices.Concat(embedded, []string{module + "/worker", module + "/cli", module + "/launcher"})},
		{"pidfile", []string{"github.com/IBM/sarama", module + "/config"}},
		{"signals", []string{"github.com/IBM/sarama", module + "/config"}},
		// What users link into their binaries.
		// (testing comes with a library that client_golang uses.)
		{"cli", slices.Concat(embedded, []string{module + "/launcher", module + "/racecartest"})},
		{"heroku", slices.Concat(embedded, []string{"testing"})},
		{"otel", embedded}, // its exporters come with one for client_golang
		{"cmd/racecarctl", embedded},
	}
	for _, test := range tests {
		t.Run(test.pkg, func(t *testing.T) {
			root := filepath.Join("..", "..")
			list := exec.Command("go", "list", "-deps", "./"+test.pkg)
			list.Dir = root
			out, err := list.Output()
			if err != nil {
				t.Fatalf("%s: %v", list, err)
			}
			deps := strings.Fields(string(out))
			for _, pkg := range test.never {
				if dir, ours := strings.CutPrefix(pkg, module+"/"); ours {
					if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
						t.Errorf("%s is kept out of %s, and does not exist: %v", pkg, test.pkg, err)
					}
				}
				if slices.Contains(deps, pkg) {
					t.Errorf("%s depends on %s: `go mod why` or `go list -deps` says through what", test.pkg, pkg)
				}
			}
		})
	}
}

// Each package that a rule of depguard is about or keeps out exists: a rule about one that
// was renamed holds nothing.
func TestLintRulesNamePackagesThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\$\{base-path\}/([\w./-]+?)(?:/\*\*)?"|`+module+`/([\w/-]+)`).FindAllSubmatch(text, -1)
	if len(names) < 20 {
		t.Errorf("only %d packages are named", len(names))
	}
	for _, m := range names {
		name := string(m[1]) + string(m[2])
		if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
			t.Errorf(".golangci.yml: %v", err)
		}
	}
}
