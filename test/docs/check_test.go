package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatIsWrongIsFound checks a page in which everything is wrong once, beside
// what is right.
func TestWhatIsWrongIsFound(t *testing.T) {
	root, pages := repository(t)
	source := strings.ReplaceAll(`# A page

[a](README.md) [b](nowhere.md) [c](#a-page) [d](#nowhere) [e](docs/configuration.md#the-file)
[f](docs/configuration.md#no-such-heading) [g](/README.md) [h](../outside) [i](https://example.com/x) [j]

[j]: also-nowhere.md

'worker/commit.go' 'worker/no_such.go' 'config/racecar.yml' 'a/path/of/users.go' 'test/e2e.TestDaemonize'

'racecar.Register' 'racecar.Regster(x)' 'Spec.MaxRetries' 'Spec.MaxTries' '*racecar.Message' 'racecar.Message.Vallue'

RACECAR_BROKERS RACECAR_* RACECAR_BROKER

'racecar lst' 'racecar list --json' 'racecarctl statu' 'racecarctl dlq replay --limit 5' 'racecarctl dlq repaly'

'''sh
$ racecar --brokers a,b --no-daemonize -l x.log UserBanConsumer  # a comment --with flag
RACECAR_ENV=production racecar --broker a UserBanConsumer && racecarctl stop --forse
go run . demo --onc
go run github.com/racecar-go/racecar/cmd/racecarctl@latest produce -t x -v '{"a b": --c}' -k=1 -H a=b > out
bundle exec racecar --whatever
web: bin/racecar --all --pause-timeout -1
racecar: building consumers of module x
'''

'''yaml
spec:
  command: ["/usr/bin/racecar", "--jjson", "list"]
'''

'''yaml
a: [
'''

'''yaml
# config/racecar.yml
common:
  client_id: ${APP:-x}
production:
  client_idd: x
'''
`, "'", "`")
	source = strings.ReplaceAll(source, "`{\"a b\": --c}`", `'{"a b": --c}'`)
	p := parsePage("page.md", []byte(source))
	a, err := readAPI(root, "racecar", "racecartest", "cli")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	got = append(got, p.brokenLinks(root, map[string]*page{"page.md": p, "docs/configuration.md": pages["docs/configuration.md"]})...)
	got = append(got, p.missingPaths(root)...)
	got = append(got, p.unknownNames(a)...)
	got = append(got, p.badCommands(ourTools(t))...)
	yaml := t.TempDir()
	for _, wrong := range p.badYAML(yaml) {
		first, _, _ := strings.Cut(strings.ReplaceAll(wrong, yaml+string(filepath.Separator), ""), "\n")
		got = append(got, first)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page.md"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	variables, err := p.unknownVariables(dir)
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, variables...)
	want := []string{
		`page.md:3: link to nowhere.md: there is no such file`,
		`page.md:3: link to #nowhere: there is no such heading in page.md`,
		`page.md:4: link to docs/configuration.md#no-such-heading: there is no such heading in docs/configuration.md`,
		`page.md:4: link to /README.md: write it relative to the file`,
		`page.md:4: link to ../outside: there is no such file`,
		`page.md:4: link to also-nowhere.md: there is no such file`,
		"page.md:8: `worker/no_such.go` is named and not there",
		`page.md:10: there is no racecar.Regster`,
		`page.md:10: there is no racecar.Spec.MaxTries`,
		`page.md:10: there is no racecar.Message.Vallue`,
		`page.md:17: "racecar --broker a UserBanConsumer": racecar has no flag --broker`,
		`page.md:17: "racecarctl stop --forse": racecarctl stop has no flag --forse`,
		`page.md:17: "racecar demo --onc": racecar demo has no flag --onc`,
		`page.md:27: "racecar --jjson list": racecar has no flag --jjson`,
		`page.md:14: "racecar lst": racecar has no command "lst"`,
		`page.md:14: "racecarctl statu": racecarctl has no command "statu"`,
		`page.md:14: "racecarctl dlq repaly": racecarctl has no command "dlq"`,
		`page.md:32: [1:4] sequence end token ']' not found`,
		`page.md:36: as production: racecar.yml:5:3: unknown key "client_idd" (did you mean "client_id"?)`,
		`page.md:12: there is no variable RACECAR_BROKER`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestGoThatDoesNotCompileIsFound(t *testing.T) {
	root, _ := repository(t)
	source := strings.ReplaceAll(`
'''go
// consumers/ban.go
package consumers

const Users = 3
'''

'''go
package main

import "example.com/app/consumers"

func main() { println(consumers.Users, consumers.Usres) }
'''

<!-- with: func ban(id []byte) error { return nil } -->

'''go
type UserBan struct{}

func (UserBan) Process(ctx context.Context, m *racecar.Message) error { return ban(m.Valeu) }
'''

<!-- with: -->
'''go
if len(m.Value) == 0 {
	return racecar.Skip(errors.New("empty"), 1)
}
'''

'''go
anything.Goes(but, itsSyntax)
'''

'''go
if {
'''
`, "'", "`")
	p := parsePage("page.md", []byte(source))
	dir := t.TempDir()
	files, problems, err := p.writeSnippets(root, dir)
	if err != nil {
		t.Fatal(err)
	}
	if files != 4 || len(problems) != 1 || !strings.HasPrefix(problems[0], root+"/page.md:37: ") {
		t.Errorf("%d files, problems %q", files, problems)
	}
	vet := exec.Command("go", "vet", "-mod=mod", "./...")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	out, err := vet.CombinedOutput()
	if err == nil {
		t.Fatal("it compiles")
	}
	for _, want := range []string{"page.md:14: undefined: consumers.Usres", "page.md:22: m.Valeu undefined", "page.md:28: too many arguments"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no word of %q:\n%s", want, out)
		}
	}
}
