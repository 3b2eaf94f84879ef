package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	// rubyAssignment matches `config.brokers = …`.
	rubyAssignment = regexp.MustCompile(`(?m)^\s*\w+\.(\w+)\s*=[^=~>]`)
	// rubyErrorHandler matches `config.on_error do …`.
	rubyErrorHandler = regexp.MustCompile(`(?m)^\s*\w+\.on_error\b`)
)

// configRB warns of a config/racecar.rb beside the file: upstream would run it. The
// warning names the settings in it and their equivalents.
func configRB(dir string) string {
	const name = "config/racecar.rb"
	text, err := slurp(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	var fields []string
	for _, m := range rubyAssignment.FindAllStringSubmatch(text, -1) {
		if k, ok := Lookup(m[1]); ok {
			f := "c." + fieldName(k)
			if !slices.Contains(fields, f) {
				fields = append(fields, f)
			}
		}
	}
	if rubyErrorHandler.MatchString(text) {
		fields = append(fields, "c.OnError")
	}
	what := ""
	if len(fields) > 0 {
		what = " (it sets " + strings.Join(fields, ", ") + ")"
	}
	return name + " is Ruby and is not read" + what +
		": move its settings to " + DefaultFile + ", or to racecar.Configure(func(c *racecar.Config) error { … }) in an init function"
}
