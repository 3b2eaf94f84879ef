// Summary reads what `go test -json` writes, shows failures in full and everything
// else in a line a package, and keeps count:
//
//	go test -json ./... | go run ./test/summary --stage unit --record FILE
//
// A stage in which no test ran fails, and so does one in which, with --must-say,
// no test logged the given words. `--must-say "runs against Apache Kafka"`
// ensures that a pass with a real broker does not become one without.
//
// `--record FILE --stage NAME --check` records a step that is no Go test: what
// follows "--" is run, and counts as one test. `--record FILE --total` prints what
// was recorded, the last line being "N passed, M failed, K skipped".
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	ok, err := run(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run returns whether everything passed.
func run(args []string, in io.Reader, out io.Writer) (ok bool, err error) {
	flags := flag.NewFlagSet("summary", flag.ContinueOnError)
	stage := flags.String("stage", "", "what to call these tests")
	record := flags.String("record", "", "the `file` that results are added to")
	mustSay := flags.String("must-say", "", "count only tests that log these `words`; none is an error")
	check := flags.Bool("check", false, "run the command after -- and count it as one test")
	total := flags.Bool("total", false, "print what was recorded")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *record == "" {
		return false, errors.New("--record FILE is needed")
	}
	if *total {
		results, err := readResults(*record)
		if err != nil {
			return false, err
		}
		return printTotal(out, results), nil
	}
	if *stage == "" {
		return false, errors.New("--stage NAME is needed")
	}
	var r result
	if *check {
		if flags.NArg() == 0 {
			return false, errors.New("--check: a command is needed after --")
		}
		r = runCheck(*stage, flags.Args(), out)
	} else {
		tests := newTests(out)
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 16<<20) // a line of output may be long
		for lines.Scan() {
			tests.line(lines.Bytes())
		}
		if err := lines.Err(); err != nil {
			return false, err
		}
		r = tests.finish(*mustSay)
	}
	r.Stage = *stage
	fmt.Fprintln(out, r)
	return r.Failed == 0, appendResult(*record, r)
}

// runCheck runs a command, whose output is shown as it comes.
func runCheck(stage string, args []string, out io.Writer) result {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(out, "FAIL %s: %v\n", stage, err)
		return result{Failed: 1}
	}
	return result{Passed: 1}
}
