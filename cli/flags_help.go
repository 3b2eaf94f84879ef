package cli

import (
	"fmt"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/config"
)

// helpWidth is what --help keeps to where the terminal is wider.
const helpWidth = 100

// usual are the keys that --help shows; all others are on --help-all.
var usual = []string{
	"brokers", "group_id", "parallel_workers", "concurrency", "max_retries", "dead_letter_topic",
	"pause_timeout", "logfile", "log_level", "daemonize", "pidfile", "status_addr",
}

// usage are the forms of the command line.
const usage = `Usage: racecar [flags] CONSUMER ...
       racecar COMMAND [flags]
`

// example ends the help of the command itself.
const example = `
Example:
  racecar --brokers kafka1,kafka2 --parallel-workers 3 UserBanConsumer
`

// keysHelp says where the other keys are.
const keysHelp = `
Each key of the configuration is a flag: --help-all shows them. --client-id is client_id in
config/racecar.yml and the variable RACECAR_CLIENT_ID; a flag goes before a variable, and that
before the file.
`

// helpAll is --help-all.
type helpAll bool

// BeforeReset prints the help, as kong does for --help.
func (helpAll) BeforeReset(ctx *kong.Context, f *keyFlags) error {
	f.all = true
	root := *ctx
	root.Path = ctx.Path[:1] // without what kong takes for the command
	if err := root.PrintUsage(false); err != nil {
		return err
	}
	ctx.Exit(0)
	return nil
}

// printHelp prints the usual flags on one screen, or with --help-all all keys by theme.
// A subcommand's help shows only its own flags.
func (f *keyFlags) printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	o.WrapUpperBound = helpWidth
	o.Compact = true
	sub := ctx.Selected() != nil
	for _, flag := range ctx.Model.Flags {
		i := slices.IndexFunc(f.keys, func(k config.Key) bool { return k.Flag == flag.Name })
		switch {
		case i < 0:
			flag.Hidden = flag.Hidden || sub && flag.Name != "help"
		case sub:
			flag.Hidden = true
		case !f.all && slices.Contains(usual, f.keys[i].Name):
			flag.Group = &kong.Group{Key: "usual", Title: "Often used keys of the configuration:"}
		case !f.all:
			flag.Hidden = true
		}
	}
	if sub {
		if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintf(ctx.Stdout, "\nThe flags of \"%s --help\" go with it as well.\n", ctx.Model.Name)
		return err
	}
	if _, err := fmt.Fprint(ctx.Stdout, usage); err != nil {
		return err
	}
	o.NoAppSummary = true
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	_, err := fmt.Fprint(ctx.Stdout, f.commands, keysHelp, example)
	return err
}
