package ctl

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/internal/manual"
	"github.com/racecar-go/racecar/internal/version"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish"`
}

// Run prints the script.
func (c *completionCmd) Run(a *app, m *kong.Application) error {
	script, err := manual.Completion(c.Shell, m, "")
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.out, script)
	return err
}

type manCmd struct{}

// Run prints racecarctl(1).
func (manCmd) Run(a *app, m *kong.Application) error {
	page := manual.Page(m, version.Of(),
		manual.Section{Title: "Exit status", Text: "0 if it was done; 1 if it could not be done. Commands of upstream keep upstream's: status is 0 also if nothing runs, and status --check is 3 then."},
		manual.Section{Title: "See also", Text: "racecar(1)"},
	)
	_, err := fmt.Fprint(a.out, plainUsage(page))
	return err
}
