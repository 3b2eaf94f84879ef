package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"
)

// configure runs the Configure functions on the result of the file. A key counts as set by
// them if its value changes.
func (l *loader) configure() {
	for _, f := range l.Configure {
		before := l.config.Clone()
		source := "Configure (" + origin(f) + ")"
		if err := call(f, &l.config); err != nil {
			l.problem(fmt.Errorf("%s: %w", source, err))
			l.unread = true
		}
		for _, k := range allKeys {
			if k.equal(&before, &l.config) {
				continue
			}
			l.sources[k.Name] = source
			if k.Type == TypeDuration {
				l.refuseNanoseconds(source+": "+k.Name, k.Name, time.Duration(k.value(&l.config).Int()))
			}
		}
	}
}

// call runs a Configure function; its panic is an error like any other.
func call(f func(*Config) error, c *Config) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := f(c); err != nil {
		return err
	}
	return checkLogger(c.Logger)
}

// checkLogger refuses values that are no logger, and nil loggers.
func checkLogger(logger any) error {
	switch l := logger.(type) {
	case nil:
		return nil
	case *slog.Logger:
		if l != nil {
			return nil
		}
	case *logrus.Logger:
		if l != nil {
			return nil
		}
	case *logrus.Entry:
		if l != nil && l.Logger != nil {
			return nil
		}
	default:
		return fmt.Errorf("Logger: a *slog.Logger, *logrus.Logger or *logrus.Entry is needed, not a %T", logger)
	}
	return fmt.Errorf("Logger: the %T is nil", logger)
}

// origin is where a function is written: the last directory, file and line.
func origin(f func(*Config) error) string {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	if fn == nil {
		return "unknown"
	}
	file, line := fn.FileLine(fn.Entry())
	dir, base := filepath.Split(file)
	return fmt.Sprintf("%s/%s:%d", filepath.Base(dir), base, line)
}

// ApplyFunctions runs Configure functions in a worker, whose configuration came
// from the supervisor: only the function-typed fields of c change, whatever else
// they set. c is unchanged when one fails.
func ApplyFunctions(c *Config, functions []func(*Config) error) error {
	scratch := c.Clone()
	for _, f := range functions {
		if err := call(f, &scratch); err != nil {
			return fmt.Errorf("Configure (%s): %w", origin(f), err)
		}
	}
	c.OnError, c.Logger, c.OAuthToken = scratch.OnError, scratch.Logger, scratch.OAuthToken
	return nil
}
