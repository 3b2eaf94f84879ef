package cli

import (
	"fmt"
	"io"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/nearest"
	"github.com/racecar-go/racecar/internal/registered"
)

// showConfig is `racecar config [CONSUMER]`.
func showConfig(in *parsed, stdout, stderr io.Writer) error {
	o := in.options()
	if name := in.line.ShowConfig.Consumer; name != "" {
		r := registered.Lookup(name)
		if err := mistakes(); r == nil && err != nil { // it may be among them
			return err
		}
		if r == nil {
			return fmt.Errorf("no consumer is called %q%s", name, nearest.Hint(name, registeredNames()))
		}
		spec := registered.SpecValues(r)
		o.Spec = &spec
	}
	l, err := config.Load(o)
	if err != nil {
		return err
	}
	warn(stderr, l.Warnings)
	return config.Dump(stdout, l.Config, l.Sources, config.DumpOptions{
		JSON: in.line.ShowConfig.JSON, Changed: in.line.ShowConfig.Changed,
	})
}

func registeredNames() []string {
	var names []string
	for _, r := range registered.Consumers() {
		names = append(names, r.Name())
	}
	return names
}
