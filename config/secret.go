package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// WithSecrets is a Config for the way to a worker: its JSON includes the secrets, which that
// of Config hides. It must not be used for anything else.
type WithSecrets Config

// UnmarshalJSON gives missing keys their defaults: a program of an earlier release does not
// write them.
func (c *WithSecrets) UnmarshalJSON(b []byte) error {
	type plain WithSecrets
	p := plain(Default())
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*c = WithSecrets(p)
	return nil
}

// String lists the keys that are not at their defaults, secrets hidden.
func (c Config) String() string {
	var parts []string
	for _, s := range Inspect(c, nil) {
		if s.changed {
			parts = append(parts, s.Key+" = "+s.Written)
		}
	}
	return "config.Config{" + strings.Join(parts, ", ") + "}"
}

// Format makes each verb of package fmt hide the secrets, %+v and %#v too.
//
// It has no effect if the Config is an unexported field of a struct that is printed:
// package fmt calls no methods there. Such a field should be a pointer.
func (c Config) Format(f fmt.State, verb rune) {
	s := c.String()
	if verb == 'q' {
		s = fmt.Sprintf("%q", s)
	}
	_, _ = io.WriteString(f, s) // a Formatter has nowhere to report to
}

// LogValue makes log/slog hide the secrets.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range Inspect(c, nil) {
		if s.changed {
			attrs = append(attrs, slog.Any(s.Key, s.Value))
		}
	}
	return slog.GroupValue(attrs...)
}

// MarshalJSON writes each key with its value in its unit, secrets hidden: a Config
// may end up in a JSON log. See WithSecrets.
func (c Config) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(allKeys))
	for _, k := range allKeys {
		m[k.Name] = k.natural(&c)
	}
	return json.Marshal(m)
}

// UnmarshalJSON refuses: what MarshalJSON writes is not the whole Config.
func (c *Config) UnmarshalJSON([]byte) error {
	return errors.New("a Config cannot be read from JSON: use config.WithSecrets")
}
