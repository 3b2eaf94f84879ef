package launcher

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseArguments(t *testing.T) {
	for _, tc := range []struct {
		line string
		want arguments
		err  string
	}{
		{line: "", want: arguments{}},
		{line: "UserBan", want: arguments{program: []string{"UserBan"}}},
		{line: "--dev UserBan", want: arguments{dev: true, program: []string{"UserBan"}}},
		{line: "UserBan --dev", want: arguments{dev: true, program: []string{"UserBan"}}},
		{line: "-r a --require b -rc --require=d/... X", want: arguments{require: []string{"a", "b", "c", "d/..."}, program: []string{"-r", "a", "--require", "b", "-rc", "--require=d/...", "X"}}},
		{line: "demo --once", want: arguments{command: "demo", rest: []string{"--once"}}},
		{line: "-r a build -o x", want: arguments{command: "build", require: []string{"a"}, rest: []string{"-o", "x"}, program: []string{"-r", "a"}}},
		// A flag's value is no command, a boolean flag has none.
		{line: "--client-id demo", want: arguments{program: []string{"--client-id", "demo"}}},
		{line: "--client-id=x demo", want: arguments{command: "demo", rest: []string{}, program: []string{"--client-id=x"}}},
		{line: "--daemonize demo", want: arguments{command: "demo", rest: []string{}, program: []string{"--daemonize"}}},
		{line: "--no-daemonize demo", want: arguments{command: "demo", rest: []string{}, program: []string{"--no-daemonize"}}},
		{line: "-l demo X", want: arguments{program: []string{"-l", "demo", "X"}}},
		// A consumer may be called like a command, when it is not the first.
		{line: "UserBan demo", want: arguments{program: []string{"UserBan", "demo"}}},
		{line: "-- demo --dev", want: arguments{program: []string{"--", "demo", "--dev"}}},
		{line: "--without-rails x", want: arguments{withoutConsumers: true, program: []string{"--without-rails", "x"}}},
		{line: "--brokers a:9092 x", want: arguments{brokers: true, program: []string{"--brokers", "a:9092", "x"}}},
		{line: "--help", want: arguments{help: true, program: []string{"--help"}}},
		{line: "--help-all", want: arguments{help: true, program: []string{"--help-all"}}},
		{line: "-h", want: arguments{help: true, program: []string{"-h"}}},
		{line: "x --version", want: arguments{version: true, program: []string{"x", "--version"}}},
		{line: "x --brokers", want: arguments{program: []string{"x", "--brokers"}}},
		{line: "x -", want: arguments{program: []string{"x", "-"}}},
		{line: "x -r", err: "-r wants the directory of a package"},
		{line: "--dev=yes x", err: "--dev takes no value: --dev=yes"},
	} {
		t.Run(tc.line, func(t *testing.T) {
			got, err := parseArguments(strings.Fields(tc.line), takesValue)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(arguments{})); d != "" {
				t.Error(d)
			}
		})
	}
}
