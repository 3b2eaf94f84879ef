package cli

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/config"
)

// grammar stands for the command's own.
type grammar struct {
	Require string `short:"r" help:"Directory of consumers."`
	Inline  bool   `help:"One worker, in the foreground."`
	Run     struct {
		Consumers []string `arg:"" optional:""`
	} `cmd:"" default:"withargs" help:"Run consumers."`
	List struct {
		JSON bool `help:"As JSON."`
	} `cmd:"" help:"List the consumers."`
}

func parse(t *testing.T, args ...string) (map[string]config.Flag, *grammar, string, error) {
	t.Helper()
	var g grammar
	var out bytes.Buffer
	flags := newKeyFlags()
	k, err := kong.New(&g, append(flags.Options(), kong.Name("racecar"), kong.Writers(&out, &out), kong.Exit(func(int) { panic("exit") }))...)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }() // --help exits
		_, err = k.Parse(args)
		err = flags.Explain(k, err)
	}()
	return flags.Given(), &g, out.String(), err
}

func TestGiven(t *testing.T) {
	tests := []struct {
		args []string
		want map[string]config.Flag
	}{
		{[]string{"X"}, map[string]config.Flag{}},
		{[]string{"--client-id", "a", "X"}, map[string]config.Flag{"client_id": {Text: "a", As: "--client-id"}}},
		{[]string{"X", "--client-id=a", "--client-id=b"}, map[string]config.Flag{"client_id": {Text: "b", As: "--client-id"}}},
		{[]string{"--group-id=", "X"}, map[string]config.Flag{"group_id": {Text: "", As: "--group-id"}}},
		{[]string{"--pause-timeout", "-1", "X"}, map[string]config.Flag{"pause_timeout": {Text: "-1", As: "--pause-timeout"}}},
		{[]string{"--worker-restart-limit=-1"}, map[string]config.Flag{"worker_restart_limit": {Text: "-1", As: "--worker-restart-limit"}}},
		{[]string{"--client-id=--odd"}, map[string]config.Flag{"client_id": {Text: "--odd", As: "--client-id"}}},
		{[]string{"-l", "x.log"}, map[string]config.Flag{"logfile": {Text: "x.log", As: "--logfile"}}},
		{[]string{"-lx.log"}, map[string]config.Flag{"logfile": {Text: "x.log", As: "--logfile"}}},
		{[]string{"--log", "x.log"}, map[string]config.Flag{"logfile": {Text: "x.log", As: "--logfile"}}},
		{[]string{"--daemonize"}, map[string]config.Flag{"daemonize": {Text: "true", As: "--daemonize"}}},
		{[]string{"--no-ssl-verify-hostname"}, map[string]config.Flag{"ssl_verify_hostname": {Text: "false", As: "--no-ssl-verify-hostname"}}},
		{[]string{"--brokers", "a,b", "--brokers=c"}, map[string]config.Flag{"brokers": {Text: "a,b,c", As: "--brokers"}}},
		{[]string{"--consumer", "client.rack=r", "--consumer", "partition.assignment.strategy=range,sticky"},
			map[string]config.Flag{"consumer": {Text: "client.rack=r,partition.assignment.strategy=range,sticky", As: "--consumer"}}},
		{[]string{"list", "--json", "--log-level", "debug"}, map[string]config.Flag{"log_level": {Text: "debug", As: "--log-level"}}},
	}
	for _, tt := range tests {
		got, _, _, err := parse(t, tt.args...)
		if err != nil || !maps.Equal(got, tt.want) {
			t.Errorf("%q: %v (%v), want %v", tt.args, got, err, tt.want)
		}
	}
}

func TestGrammarKeepsItsOwnFlags(t *testing.T) {
	given, g, _, err := parse(t, "-r", "dir", "--inline", "--client-id", "x", "A", "B")
	if err != nil || g.Require != "dir" || !g.Inline || strings.Join(g.Run.Consumers, " ") != "A B" || given["client_id"].Text != "x" {
		t.Errorf("%v %+v %v", given, g, err)
	}
}

func TestEachKeyIsAFlag(t *testing.T) {
	for _, k := range config.Keys() {
		args := []string{"--" + k.Flag + "=x"}
		want := config.Flag{Text: "x", As: "--" + k.Flag}
		if k.Type == config.TypeBoolean {
			args, want = []string{"--no-" + k.Flag}, config.Flag{Text: "false", As: "--no-" + k.Flag}
		}
		if given, _, _, err := parse(t, args...); err != nil || given[k.Name] != want || len(given) != 1 {
			t.Errorf("%v: %v, %v", args, given, err)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--brokrs", "a"}, `unknown flag --brokrs (did you mean "--brokers"?)`},
		{[]string{"--no-deamonize"}, `unknown flag --no-deamonize (did you mean "--no-daemonize" or "--daemonize"?)`},
		{[]string{"--sasl-pasword=s3cr3t"}, `unknown flag --sasl-pasword (did you mean "--sasl-password"?)`},
		{[]string{"--client-id"}, `--client-id: missing value: write --client-id=STRING`},
		{[]string{"--client-id", "--daemonize"}, `--client-id: missing value ("--daemonize" is a flag): write --client-id=STRING`},
	} {
		_, _, _, err := parse(t, tt.args...)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.args, err, tt.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Setenv("COLUMNS", "200")
	ask := func(args ...string) string {
		t.Helper()
		_, err := parseArgs(append([]string{"racecar"}, args...))
		p, ok := errors.AsType[printed](err)
		if !ok {
			t.Fatalf("%v: %v", args, err)
		}
		return p.stdout
	}
	short, help := ask("--help"), ask("--help-all")
	for _, line := range strings.Split(help, "\n") {
		if len([]rune(line)) > helpWidth {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	for _, k := range config.Keys() {
		name := "--" + k.Flag + "="
		if k.Type == config.TypeBoolean {
			name = "--[no-]" + k.Flag + " "
		}
		in := func(help string) bool {
			return strings.Contains(help, name) || strings.Contains(help, strings.TrimSpace(name)+"\n")
		}
		if !in(help) {
			t.Errorf("no %s in the help", name)
		}
		if in(short) != slices.Contains(usual, k.Name) {
			t.Errorf("%s in the short help: %v", name, in(short))
		}
		if !strings.Contains(help, "\n"+k.Group+":\n") {
			t.Errorf("no theme %s", k.Group)
		}
	}
	for _, text := range []string{short, help} {
		if !strings.HasPrefix(text, usage) || !strings.HasSuffix(text, example) || !strings.Contains(text, "  list ") {
			t.Errorf("the help does not begin with the usage and end with an example:\n%s", text)
		}
	}
	if lines := strings.Count(short, "\n"); lines > 50 {
		t.Errorf("--help has %d lines, which fit no screen", lines)
	}
	if all := ask("list", "--help-all"); all != help {
		t.Errorf("--help-all after a command:\n%s", all)
	}
	sub := ask("list", "--help")
	if strings.Contains(sub, "--client-id") || !strings.Contains(sub, "--json") || !strings.HasSuffix(sub, "go with it as well.\n") {
		t.Errorf("help of a subcommand:\n%s", sub)
	}
}
