package cli

import (
	"strings"

	"github.com/alecthomas/kong"
)

// consumersLast moves the names of consumers behind the flags: `racecar A --inline B`
// means what `racecar --inline A B` does, but kong takes the arguments of a list only
// where they stand together. A command line with a subcommand stays as it is.
func consumersLast(k *kong.Kong, args []string) []string {
	takesValue := map[string]bool{}
	for _, f := range k.Model.Flags {
		names := []string{"--" + f.Name, "-" + string(f.Short)}
		for _, alias := range f.Aliases {
			names = append(names, "--"+alias)
		}
		for _, name := range names {
			takesValue[name] = !f.IsBool() && !f.IsCounter()
		}
	}
	var flags, consumers []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			consumers = append(consumers, args[i+1:]...)
			return append(append(flags, arg), consumers...)
		case len(arg) > 1 && arg[0] == '-':
			flags = append(flags, arg)
			if takesValue[arg] && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		default:
			if len(consumers) == 0 && isCommand(k, arg) {
				return args
			}
			consumers = append(consumers, arg)
		}
	}
	return append(flags, consumers...)
}

func isCommand(k *kong.Kong, name string) bool {
	for _, c := range k.Model.Children {
		if c.Name == name || strings.Contains(" "+strings.Join(c.Aliases, " ")+" ", " "+name+" ") {
			return true
		}
	}
	return false
}
