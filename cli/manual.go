package cli

import (
	"fmt"
	"io"

	"github.com/racecar-go/racecar/internal/manual"
	"github.com/racecar-go/racecar/internal/version"
)

// writeCompletion prints the script that completes racecar's command line in shell
// (manual.Shells), with the commands of own.
func writeCompletion(w io.Writer, shell string, own manual.Commands) error {
	k := newGrammar(&commandLine{}, newKeyFlags(), own.Grammar...)
	script, err := manual.Completion(shell, k.Model, "racecar list 2>/dev/null | awk 'NR > 1 {print $1}'")
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(w, script)
	return err
}

// writeManPage prints racecar(1), with commands as for writeCompletion.
func writeManPage(w io.Writer, own manual.Commands) error {
	k := newGrammar(&commandLine{}, newKeyFlags(), own.Grammar...)
	_, err := fmt.Fprint(w, manual.Page(k.Model, version.Of(),
		manual.Section{Title: "Environment", Text: "Each key of the configuration is also a variable: client_id is RACECAR_CLIENT_ID. " +
			"RACECAR_ENV (else RAILS_ENV, RACK_ENV, development) chooses the section of the configuration file."},
		manual.Section{Title: "Files", Text: "config/racecar.yml: the configuration, under the working directory."},
		manual.Section{Title: "Exit status", Text: "0 if it stopped gracefully or the command succeeded, 1 for anything else."},
		manual.Section{Title: "See also", Text: "racecarctl(1)"},
	))
	return err
}
