package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret is the maximum size of a file that holds a secret: a larger one is a mistake.
const maxSecret = 64 << 10

// fileSuffix ends the variable that names a file with a secret key's value, as
// Docker's official images have it.
const fileSuffix = "_FILE"

// readSecret returns what a file holds, without the newline at its end, for ${file:PATH}
// and RACECAR_<KEY>_FILE. Its errors name the path and no part of the content.
func (l *loader) readSecret(path string) (string, error) {
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(l.Dir, full)
	}
	info, err := os.Stat(full)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", path, underlying(err))
	case info.IsDir():
		return "", fmt.Errorf("%s: is a directory: name the file in it that holds the value", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: is not a regular file", path)
	}
	f, err := os.Open(full)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, underlying(err))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", path, underlying(err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s: is larger than %d KiB: it cannot be a configuration value", path, maxSecret>>10)
	case text == "":
		return "", fmt.Errorf("%s: is empty", path)
	}
	if info.Mode().Perm()&0o004 != 0 {
		l.warnings = append(l.warnings, fmt.Sprintf("%s: every user of this host can read it (mode %04o): chmod o-r", path, info.Mode().Perm()))
	}
	return text, nil
}

// secretVariables reads the keys whose variable names a file.
func (l *loader) secretVariables() (settings []setting) {
	for _, k := range allKeys {
		name := k.Env + fileSuffix
		path, given := l.env[name]
		if !k.Secret || !given {
			continue
		}
		if _, both := l.env[k.Env]; both {
			l.problem(fmt.Errorf("%s and %s are both set: unset one of them", k.Env, name))
			continue
		}
		text, err := "", errors.New("names no file: write the path of one, or unset it")
		if path != "" {
			text, err = l.readSecret(path)
		}
		if err != nil {
			l.problem(fmt.Errorf("%s: %w", name, err))
			l.unsound[k.Name] = true
			continue
		}
		settings = append(settings, setting{key: k, in: input{text: text}, source: name, place: name})
	}
	return settings
}
