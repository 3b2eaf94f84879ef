package manual

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"os"

	"github.com/alecthomas/kong"
)

func model(t *testing.T) *kong.Application {
	t.Helper()
	var grammar struct {
		Verbose bool   `help:"Say more." negatable:""`
		File    string `short:"f" placeholder:"PATH" help:"Where it's kept, à jour."`
		Secret  struct {
		} `cmd:"" hidden:"" help:"Nobody's business."`
		List struct {
			JSON bool `help:"As JSON."`
		} `cmd:"" help:"List them."`
		Dlq struct {
			Replay struct {
				DryRun bool `help:"Only say."`
			} `cmd:"" help:"Bring back."`
		} `cmd:"" help:"Dead letters."`
	}
	k, err := kong.New(&grammar, kong.Name("my-tool"), kong.Description("Does things.\n\n.starts with a dot"))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

// The script is what bash itself makes of it.
func TestBashCompletes(t *testing.T) {
	script, err := Completion("bash", model(t), "echo UserBanConsumer")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		typed []string // the last one is being typed
		want  []string
	}{
		{[]string{"l"}, []string{"list"}},
		{[]string{"U"}, []string{"UserBanConsumer"}},
		{[]string{""}, []string{"list", "dlq", "--help", "--verbose", "--no-verbose", "--file", "UserBanConsumer"}},
		{[]string{"--no"}, []string{"--no-verbose"}},
		{[]string{"list", "--j"}, []string{"--json"}},
		{[]string{"--verbose", "dlq", ""}, []string{"replay", "--help", "--verbose", "--no-verbose", "--file"}},
		{[]string{"dlq", "replay", "--d"}, []string{"--dry-run"}},
		{[]string{"nonsense", "li"}, []string{"list"}},
		{[]string{"list", "x"}, nil},
	} {
		quoted := make([]string, len(test.typed))
		for i, w := range test.typed {
			quoted[i] = "'" + w + "'"
		}
		run := `source "$0"; COMP_WORDS=(my-tool ` + strings.Join(quoted, " ") + `); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _my_tool; printf '%s\n' "${COMPREPLY[@]}"`
		out, err := exec.Command("bash", "--norc", "-c", run, path).Output()
		if err != nil {
			t.Fatalf("%q: %v", test.typed, err)
		}
		got := strings.Fields(string(out))
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.typed, got, test.want)
		}
	}
}

func TestOtherShells(t *testing.T) {
	zsh, err := Completion("zsh", model(t), "")
	if err != nil || !strings.HasPrefix(zsh, "#compdef my-tool\n") || !strings.Contains(zsh, "bashcompinit") {
		t.Errorf("zsh: %v: %s", err, zsh)
	}
	fish, err := Completion("fish", model(t), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`complete -c my-tool -n '__fish_use_subcommand' -f -a 'list' -d 'List them.'`,
		`complete -c my-tool -l file -s f -r -d 'Where it\'s kept, à jour.'`,
		`complete -c my-tool -n '__fish_seen_subcommand_from dlq' -f -a 'replay' -d 'Bring back.'`,
	} {
		if !strings.Contains(fish, want+"\n") {
			t.Errorf("fish lacks %s:\n%s", want, fish)
		}
	}
	if strings.Contains(zsh+fish, "secret") {
		t.Error("a hidden command is completed")
	}
	if _, err := Completion("tcsh", model(t), ""); err == nil || !strings.Contains(err.Error(), "bash, zsh, fish") {
		t.Errorf("tcsh: %v", err)
	}
}

func TestPage(t *testing.T) {
	page := Page(model(t), "1.0", Section{"Files", "config/x.yml"})
	for _, want := range []string{
		".SH NAME\nmy\\-tool \\- does things\n", "\n.PP\n\\&.starts with a dot\n", `.SS "dlq replay [flags]"`, "\\-\\-dry\\-run\n",
		"\\-f, \\-\\-file=PATH\nWhere it's kept, \\[u00E0] jour.\n", "\\-\\-[no\\-]verbose\n", ".SH \"FILES\"\nconfig/x.yml\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "secret") {
		t.Error("a hidden command is in the page")
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		return // whoever has it reads the page with its eyes
	}
	check := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8")
	check.Stdin = strings.NewReader(page)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v: %s", err, out)
	}
}
