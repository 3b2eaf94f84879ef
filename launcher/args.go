package launcher

import (
	"fmt"
	"slices"
	"strings"
)

// The launcher's own commands; all other words are the program's.
var ownCommands = []string{"broker", "build", "completion", "demo", "generate", "install", "man"}

// ownHelp is what --help says of them, below what it says of the program.
const ownHelp = `
Commands of racecar itself:
  demo                      Watch supervised workers at work on real earthquakes
  install                   Set up a module for consumers
  generate consumer NAME    Write a consumer and its test
  build -o FILE             Build a static program of the consumers
  broker                    Run a Kafka broker for development

racecar builds ./consumers of the module you stand in, or what --require names, and runs it.
`

// arguments is what a command line asks of the launcher.
type arguments struct {
	// command is one of ownCommands; empty: build the program and become it.
	command string
	// rest is what follows command.
	rest []string
	// require are the packages to build, as given to --require.
	require []string
	// withoutConsumers leaves out ./consumers (--without-rails).
	withoutConsumers bool
	dev              bool
	// brokers says that --brokers is among the program's arguments.
	brokers bool
	// help and version need no consumers.
	help, version bool
	// program is what the program gets: all but --dev.
	program []string
}

// parseArguments reads what concerns the launcher and leaves the rest to the
// program, which checks it. takesValue says whether a flag (without its dashes)
// is followed by a value.
func parseArguments(args []string, takesValue func(flag string) bool) (arguments, error) {
	a := arguments{}
	first := true // no word was seen that is neither flag nor value
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			a.program = append(a.program, args[i:]...)
			return a, nil
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			if first && slices.Contains(ownCommands, arg) {
				a.command, a.rest = arg, args[i+1:]
				return a, nil
			}
			first = false
			a.program = append(a.program, arg)
			continue
		}
		flag, value, joined := splitFlag(arg)
		if flag == "dev" {
			if joined {
				return a, fmt.Errorf("--dev takes no value: %s", arg)
			}
			a.dev = true
			continue
		}
		a.program = append(a.program, arg)
		if takesValue(flag) && !joined {
			if i++; i == len(args) {
				if flag == "require" {
					return a, fmt.Errorf("%s wants the directory of a package", arg)
				}
				return a, nil // the program says what is missing
			}
			value = args[i]
			a.program = append(a.program, value)
		}
		switch flag {
		case "require":
			a.require = append(a.require, value)
		case "without-rails":
			a.withoutConsumers = true
		case "brokers":
			a.brokers = true
		case "help", "help-all":
			a.help = true
		case "version":
			a.version = true
		}
	}
	return a, nil
}

// splitFlag takes "--require=x", "-r", "-rx" apart. Short flags come back under
// their long names.
func splitFlag(arg string) (flag, value string, joined bool) {
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		return cut(long)
	}
	short := arg[1:2]
	long, ok := map[string]string{"r": "require", "l": "log", "h": "help"}[short]
	if !ok {
		return arg[1:], "", false
	}
	if len(arg) == 2 {
		return long, "", false
	}
	return long, strings.TrimPrefix(arg[2:], "="), true
}

func cut(s string) (flag, value string, joined bool) {
	flag, value, joined = strings.Cut(s, "=")
	return flag, value, joined
}
