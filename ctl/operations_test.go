package ctl

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Each command of racecarctl has a line of help, a script that runs it and a line of
// documentation; each operation of the control socket belongs to such a command.
func TestCommandsHaveHelpTestsAndDocumentation(t *testing.T) {
	scripts := contents(t, "testdata/*.txtar")
	manual := contents(t, "../README.md", "../docs/*.md")
	var commands []string
	for _, n := range leafCommands(t) {
		name := strings.TrimPrefix(pathOf(n), "racecarctl ")
		commands = append(commands, name)
		if n.Help == "" {
			t.Errorf("racecarctl %s has no help", name)
		}
		quoted, fails := regexp.QuoteMeta(name), ""
		if name == "top" { // scripts have no terminal; package top has its own tests
			fails = "! "
		}
		if !regexp.MustCompile(`(?m)^` + fails + `exec racecarctl ` + quoted + `( |$)`).MatchString(scripts) {
			t.Errorf("no script in testdata runs racecarctl %s", name)
		}
		if !regexp.MustCompile(`racecarctl ` + quoted + "[^\\w-]").MatchString(manual) {
			t.Errorf("neither README.md nor docs mention racecarctl %s", name)
		}
	}
	for _, o := range (&Server{sup: &fakeSupervisor{}}).operations() {
		asking := o.commands
		if asking == nil {
			asking = []string{o.name}
		}
		for _, name := range asking {
			if !slices.Contains(commands, name) {
				t.Errorf("%s /v1/%s: racecarctl has no command %s", o.method, o.name, name)
			}
		}
	}
}

// leafCommands are the commands that do something.
func leafCommands(t *testing.T) []*kong.Node {
	t.Helper()
	parser, err := kong.New(&grammar{}, kong.Name("racecarctl"), kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model.Leaves(false)
}

// contents are the files that match the patterns.
func contents(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", p, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	return all.String()
}
