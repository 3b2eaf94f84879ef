package cli

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// helpWidth is what --help keeps to where the terminal is wider.
const helpWidth = 100

// example ends the help of the command itself.
const example = `
Example:
  racecar --brokers kafka1,kafka2 --parallel-workers 3 UserBanConsumer

Each flag is also a key of config/racecar.yml (--client-id: client_id) and a variable
(RACECAR_CLIENT_ID); a flag goes before a variable, and that before the file.
`

// printHelp prints the flags by theme. The help of a subcommand shows what is its
// own: the keys would bury it.
func (f *KeyFlags) printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	o.WrapUpperBound = helpWidth
	sub := ctx.Selected() != nil
	if sub {
		for _, flag := range ctx.Model.Flags {
			for _, k := range f.keys {
				flag.Hidden = flag.Hidden || flag.Name == k.Flag
			}
		}
	}
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	text := example
	if sub {
		text = fmt.Sprintf("\nThe flags of \"%s --help\" go with it as well.\n", ctx.Model.Name)
	}
	_, err := fmt.Fprint(ctx.Stdout, text)
	return err
}
