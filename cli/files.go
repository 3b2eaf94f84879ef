package cli

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// checkFiles reads the certificates, keys and keytabs that the configuration names, as
// workers do, so that a missing one is said before anything is started. Nobody is
// connected to.
func checkFiles(r *run) error {
	var errs []error
	said := map[string]bool{} // consumers share most settings
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
		if !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// located has an error about a setting begin with where the setting is made, and says
// what to do about a file.
func located(err error, key string, sources map[string]string) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), key+": ")
	if where := config.Place(key, sources); !strings.HasPrefix(text, where+": ") { // by the daemon
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

// settingError is err in other words.
type settingError struct {
	text string
	err  error
}

func (e *settingError) Error() string { return e.text }
func (e *settingError) Unwrap() error { return e.err }
