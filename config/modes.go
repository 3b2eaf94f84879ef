package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// secretFiles are the keys whose file nobody else should read.
var secretFiles = []string{"ssl_key_location", "ssl_keystore_location", "sasl_kerberos_keytab", "sasl_oauthbearer_token_file"}

// writableByOthers warns of a configuration file that others can change: it names the
// brokers that are trusted and may hold a command (sasl_kerberos_kinit_cmd).
func writableByOthers(path, shown string) string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o002 == 0 {
		return "" // what cannot be opened is reported by whoever reads it
	}
	return fmt.Sprintf("%s: can be changed by every user of this host (mode %04o): chmod go-w", shown, info.Mode().Perm())
}

// readableSecrets warns of keys and tokens that everybody can read.
func (l *loader) readableSecrets() []string {
	var warnings []string
	for _, name := range secretFiles {
		k, _ := Lookup(name)
		shown := k.value(&l.config).String()
		if shown == "" || l.unsound[name] {
			continue
		}
		path := shown
		if !filepath.IsAbs(path) {
			path = filepath.Join(l.Dir, path)
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s: %s can be read by every user of this host (mode %04o): chmod o-r", Place(name, l.sources), shown, info.Mode().Perm()))
	}
	return warnings
}
