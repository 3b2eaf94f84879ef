package config

import (
	"reflect"
	"slices"
	"strings"
)

// sourceDevelopment is the source of the values that --dev sets.
const sourceDevelopment = "--dev"

// development selects the embedded broker, which has neither TLS nor SASL, and discards
// the settings for them, whatever their source.
func (l *loader) development() {
	addr := l.DevBroker
	if addr == "" {
		addr = l.env[EnvDevelopment]
	}
	if addr == "" {
		return
	}
	c := &l.config
	c.Brokers = []string{addr}
	l.sources["brokers"] = sourceDevelopment
	var aside []string
	for _, k := range allKeys {
		switch {
		case k.Group == groupSecurity && (l.sources[k.Name] != SourceDefault || !k.equal(c, &l.defaults)):
			aside = append(aside, Locate(k.Name, l.sources))
			k.value(c).Set(k.value(&l.defaults))
			l.sources[k.Name] = SourceDefault
		case k.props != "":
			words := slices.Clone(k.words(c))
			kept := slices.DeleteFunc(slices.Clone(words), connectsElsewhere)
			if len(kept) < len(words) {
				aside = append(aside, Locate(k.Name, l.sources))
				k.value(c).Set(reflect.ValueOf(kept))
			}
		}
	}
	if len(aside) > 0 {
		l.warnings = append(l.warnings, "--dev: set aside, since the embedded broker has neither TLS nor SASL: "+strings.Join(aside, ", "))
	}
}

// groupSecurity is the theme of the keys of TLS and SASL.
const groupSecurity = "Security"

// connectsElsewhere reports whether a property concerns the address or the login.
func connectsElsewhere(item string) bool {
	name, _, _ := strings.Cut(item, "=")
	name = canonicalProperty(name)
	if name == "bootstrap.servers" {
		return true
	}
	for _, prefix := range []string{"ssl.", "sasl.", "security.", "enable.ssl", "enable.sasl", "https."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
