package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/internal/manual"
	"github.com/racecar-go/racecar/internal/version"
)

// commandLine is the grammar of an app binary, but for the configuration keys,
// which keyFlags adds to the root so that they go with every subcommand.
type commandLine struct {
	Require []string         `short:"r" placeholder:"DIR" help:"Package directory with the consumers (racecar command only; a program has its own)."`
	Config  string           `placeholder:"FILE" help:"Configuration file (config/racecar.yml)."`
	Inline  bool             `help:"One worker in this process, without supervisor: for a debugger."`
	All     bool             `help:"Run all registered consumers."`
	Check   bool             `help:"Load and validate everything, say what would run, and exit."`
	Dev     bool             `help:"Start an embedded broker and use it (racecar command only)."`
	HelpAll helpAll          `help:"Show this with all keys of the configuration."`
	Version kong.VersionFlag `help:"Show the version."`

	Run struct {
		Consumers []string `arg:"" optional:"" name:"Consumer" help:"Consumers to run."`
	} `cmd:"" default:"withargs" help:"Run consumers (the default)."`
	List struct {
		JSON bool `help:"As JSON."`
	} `cmd:"" help:"List the registered consumers."`
	ShowConfig struct {
		Consumer string `arg:"" optional:"" help:"Show what is in effect for this consumer."`
		JSON     bool   `help:"As JSON."`
		Changed  bool   `help:"Only what differs from the defaults."`
	} `cmd:"" name:"config" help:"Show each key's value and where it comes from."`
	Completion struct {
		Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	} `cmd:"" help:"Print the script that completes racecar's command line in a shell."`
	Man struct{} `cmd:"" help:"Print the man page: racecar man | man -l -"`
}

// parsed is a command line that was understood.
type parsed struct {
	invocation
	args []string // as typed, the program's name first
	line commandLine
	own  manual.Commands // of the launcher
	run  func(in *parsed, stdout, stderr io.Writer) error
}

// printed as an error means that --help or --version was asked for and answered.
type printed struct{ stdout string }

func (printed) Error() string { return "printed" }

// newGrammar is that of the command line, filled into line.
func newGrammar(line *commandLine, flags *keyFlags, more ...kong.Option) *kong.Kong {
	options := append(flags.Options(),
		kong.Name("racecar"),
		kong.Description("Run Kafka consumers as supervised processes."),
		kong.Vars{"version": version.Full()},
	)
	k, err := kong.New(line, append(options, more...)...)
	if err != nil {
		panic("racecar: " + err.Error()) // the grammar is wrong: any test of Run sees it
	}
	return k
}

// parseArgs reads a command line, the program's name first. own is put into the help.
func parseArgs(args []string, own ...manual.Commands) (*parsed, error) {
	in := &parsed{args: args}
	for _, o := range own {
		in.own = o
	}
	flags := newKeyFlags()
	flags.commands = in.own.Help
	var out bytes.Buffer
	k := newGrammar(&in.line, flags,
		kong.Writers(&out, &out),
		kong.Exit(func(int) { panic(printed{}) }), // after --help; kong has no other way
	)
	selected, err := func() (ctx *kong.Context, err error) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case printed:
				err = printed{stdout: out.String()}
			default:
				panic(p)
			}
		}()
		ctx, err = k.Parse(consumersLast(k, args[min(1, len(args)):]))
		return ctx, flags.Explain(k, err)
	}()
	if err != nil {
		return nil, err
	}
	switch selected.Selected().Name {
	case "list":
		in.run = list
	case "config":
		in.run = showConfig
	case "completion":
		in.run = func(in *parsed, stdout, _ io.Writer) error {
			return writeCompletion(stdout, in.line.Completion.Shell, in.own)
		}
	case "man":
		in.run = func(in *parsed, stdout, _ io.Writer) error { return writeManPage(stdout, in.own) }
	default:
		in.run = runConsumers
	}
	in.invocation = invocation{
		names: in.line.Run.Consumers, all: in.line.All, check: in.line.Check, file: in.line.Config,
		flags: flags.Given(), environ: os.Environ(),
	}
	return in, nil
}

func (p printed) write(stdout io.Writer) int {
	if _, err := fmt.Fprint(stdout, p.stdout); err != nil {
		return exitFailed
	}
	return exitOK
}
