package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/racecar-go/racecar/internal/owner"
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

// ofStranger returns the owner of a configuration file that belongs neither to this user
// nor to root nor to the owner of the program, who could run anything as this user anyway.
// A file that is found in the working directory may be anybody's.
func ofStranger(path string) (uid int, strange bool) {
	uid, ok := ownerOf(path)
	if !ok || owner.TrustedUser(uid) {
		return 0, false
	}
	self, err := os.Executable()
	if err != nil {
		return uid, true
	}
	programs, ok := ownerOf(self)
	return uid, !ok || programs != uid
}

func ownerOf(path string) (uid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// strangersFile warns of a file that belongs to another user and was not named, and
// refuses a command in it: a command that merely lies in the working directory is not run.
func (l *loader) strangersFile(path, shown string, settings []setting) {
	uid, strange := ofStranger(path)
	if !strange {
		return
	}
	l.warnings = append(l.warnings, fmt.Sprintf("%s: belongs to user %d, neither to you (%d) nor to root, and names the brokers: name it with --config if it is meant", shown, uid, os.Geteuid()))
	for _, s := range settings {
		if s.command() {
			l.problem(fmt.Errorf("%s: a command in a file of user %d is not run unless the file is named: use --config or RACECAR_CONFIG, or chown it", s.place, uid))
		}
	}
}

// command reports whether a setting has a command, as the key or as the property.
func (s setting) command() bool {
	if s.in.null || s.key.props == "" {
		return !s.in.null && s.key.Name == kinitCommand
	}
	list, err := s.key.parseList(s.in)
	return err == nil && slices.ContainsFunc(list, func(item string) bool { // apply reports the error
		name, _, _ := strings.Cut(item, "=")
		return propertyIndex[strings.TrimSpace(name)].key == kinitCommand
	})
}

const kinitCommand = "sasl_kerberos_kinit_cmd"

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
		warnings = append(warnings, fmt.Sprintf("%s: %s can be read by every user of this host (mode %04o): chmod o-r", Locate(name, l.sources), shown, info.Mode().Perm()))
	}
	return warnings
}
