package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/config"
)

// A value stays one word of the shell wherever its placeholder stands, and nothing
// in it is run.
func TestKinitValuesAreNotShellText(t *testing.T) {
	for _, value := range []string{
		"kafka1.example.com", "two words", "$(touch HERE)", "`touch HERE`", `a"; touch HERE; "`, "a'; touch HERE; '", "a\ntouch HERE", `\`, "%{client.id}", "*", "",
	} {
		for name, command := range map[string]string{
			"bare":          `printf %s %{group.id} > out`,
			"double quotes": `printf %s "%{group.id}" > out`,
			"single quotes": `printf %s '%{group.id}' > out`,
			"in a word":     `printf %s x%{group.id}"y"'z' | sed -e '1s/^x//' -e '$s/yz$//' > out`,
			"after escapes": `printf %s \"%{group.id}"\"" | sed -e '1s/^"//' -e '$s/"$//' > out`,
		} {
			t.Run(name+" "+value, func(t *testing.T) {
				dir := t.TempDir()
				t.Chdir(dir)
				value := strings.ReplaceAll(value, "HERE", filepath.Join(dir, "ran"))
				k, err := newKinit(&config.Config{SASLKerberosKinitCmd: command, GroupID: value})
				if err != nil {
					t.Fatal(err)
				}
				if err := k.run(t.Context(), "broker"); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile("out")
				if err != nil {
					t.Fatal(err)
				}
				if strings.TrimSuffix(string(got), "\n") != value {
					t.Errorf("the command was given %q, want %q", got, value)
				}
				if _, err := os.Stat("ran"); err == nil {
					t.Error("a part of the value was run")
				}
			})
		}
	}
}

// Passwords are in no argument list.
func TestKinitShowsNoSecretInArguments(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	k, err := newKinit(&config.Config{SASLPassword: "hatter-7", SASLKerberosKinitCmd: `ps -o args= -p $$ > ` + out + `; printf %s %{sasl.password} | wc -c >> ` + out})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.run(t.Context(), "broker"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "hatter-7") || !strings.Contains(string(got), "8\n") {
		t.Errorf("got %q, want no password and its length", got)
	}
}
