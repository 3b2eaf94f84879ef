package cli

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// checkFiles reads the certificates, keys and keytabs that the configuration names, as
// workers do, so that a missing file is reported before anything is started. It connects
// to no broker.
func checkFiles(r *run) error {
	var errs []error
	reported := map[string]bool{} // consumers share most settings
	for _, c := range r.consumers {
		a, err := access.New(&c.Config, nil)
		if err == nil {
			a.Close()
			continue
		}
		var setting *access.ConfigError
		if errors.As(err, &setting) {
			err = located(err, setting.Key, c.Sources)
		}
		if !reported[err.Error()] {
			reported[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// located puts the place of a setting in front of an error about it, and advice about a
// file behind it.
func located(err error, key string, sources map[string]string) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), key+": ")
	if where := config.Locate(key, sources); !strings.HasPrefix(text, where+": ") { // by the daemon
		text = where + ": " + text
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text += "; correct the path, or make what is missing"
	case errors.Is(err, fs.ErrPermission):
		text += "; choose another path, or give this user the right"
	}
	return &settingError{text, err}
}

// settingError is err with another text.
type settingError struct {
	text string
	err  error
}

func (e *settingError) Error() string { return e.text }
func (e *settingError) Unwrap() error { return e.err }
