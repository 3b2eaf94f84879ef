// Package logs sets up the one logger of a process: where it writes (stdout, as
// upstream, unless logfile is set), how (text or JSON), and from which level on.
// There is no global logger: what Open returns is handed down.
package logs

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/printable"
)

// Log is an open log.
type Log struct {
	*logrus.Logger
	out   *file  // nil: not a file of ours
	queue *queue // nil: callers write
}

// Open sets up the log that c describes; stdout is where it goes without a
// logfile. With c.Logger set, everything goes through that one instead.
func Open(c *config.Config, stdout *os.File) (*Log, error) {
	l := &Log{Logger: logrus.New()}
	level, err := ParseLevel(c.LogLevel)
	if err != nil {
		return nil, err
	}
	l.SetLevel(level)
	l.SetOutput(stdout)
	terminal := c.Logfile == "" && term.IsTerminal(int(stdout.Fd()))
	if c.Logfile != "" {
		if l.out, err = openFile(c.Logfile, os.Stderr); err != nil {
			return nil, fmt.Errorf("logfile: %w", err)
		}
		l.SetOutput(l.out)
	}
	if l.Formatter, err = formatter(c.LogFormat, terminal); err != nil {
		_ = l.Close()
		return nil, err
	}
	l.Formatter = complete{l.Formatter}
	if c.Logfile == "" && isPipe(stdout) {
		l.Formatter = fitting{l.Formatter}
		l.SetOutput(lineWriter{stdout})
	}
	switch user := c.Logger.(type) {
	case *slog.Logger:
		l.SetOutput(io.Discard)
		l.AddHook(toSlog{user.Handler()})
	case *logrus.Logger:
		l.SetOutput(io.Discard)
		l.AddHook(toLogrus{logrus.NewEntry(user)})
	case *logrus.Entry:
		l.SetOutput(io.Discard)
		l.AddHook(toLogrus{user})
	}
	return l, nil
}

// ParseLevel reads a log_level: debug, info, warn or error.
func ParseLevel(s string) (logrus.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return logrus.DebugLevel, nil
	case "", "info":
		return logrus.InfoLevel, nil
	case "warn":
		return logrus.WarnLevel, nil
	case "error":
		return logrus.ErrorLevel, nil
	}
	return 0, fmt.Errorf("log_level %q: use debug, info, warn or error", s)
}

func formatter(format string, terminal bool) (logrus.Formatter, error) {
	const stamp = "2006-01-02T15:04:05.000Z07:00"
	switch format {
	case "", "auto":
		if terminal {
			return harmless{&logrus.TextFormatter{ForceColors: true, FullTimestamp: true, TimestampFormat: "15:04:05.000"}}, nil
		}
		return &logrus.JSONFormatter{TimestampFormat: stamp}, nil
	case "text":
		text := &logrus.TextFormatter{DisableColors: !terminal, FullTimestamp: true, TimestampFormat: stamp}
		if terminal {
			return harmless{text}, nil
		}
		return text, nil
	case "json":
		return &logrus.JSONFormatter{TimestampFormat: stamp}, nil
	}
	return nil, fmt.Errorf("log_format %q: use auto, text or json", format)
}

// Reopen opens the logfile again under its name, after it was renamed. Lines
// written meanwhile go to the old or to the new file, none is lost. Without a
// logfile it does nothing. When the name cannot be opened the old file stays.
func (l *Log) Reopen() error {
	if l.out == nil {
		return nil
	}
	return l.out.reopen()
}

// Close writes what is queued and closes the logfile.
func (l *Log) Close() error {
	if l.queue != nil && !l.queue.close() {
		return nil // a write hangs, and has the file
	}
	if l.out == nil {
		return nil
	}
	return l.out.Close()
}

// Slog returns a slog.Logger in front of entry. Where the log is a slog.Logger of the
// user's it is that one, with the entry's fields: source positions, groups and levels
// of its own arrive as they were given.
func Slog(entry *logrus.Entry) *slog.Logger {
	for _, hook := range entry.Logger.Hooks[logrus.InfoLevel] {
		if user, ok := hook.(toSlog); ok {
			return slog.New(leveled{user.handler, entry.Logger}.WithAttrs(attrs(entry.Data)))
		}
	}
	return slog.New(&fromSlog{entry: entry})
}

// harmless formats for a terminal, on which logrus quotes fields and not the message: that
// one may repeat what a broker or a message says.
type harmless struct{ logrus.Formatter }

func (f harmless) Format(e *logrus.Entry) ([]byte, error) {
	plain := *e
	plain.Message = printable.Text(e.Message)
	return f.Formatter.Format(&plain)
}

// complete formats every line: a value that JSON cannot hold, NaN say, is written as
// text instead of having the line lost.
type complete struct{ logrus.Formatter }

func (f complete) Format(e *logrus.Entry) ([]byte, error) {
	line, err := f.Formatter.Format(e)
	if err == nil {
		return line, nil
	}
	plain := *e
	plain.Data = make(logrus.Fields, len(e.Data))
	for k, v := range e.Data {
		if _, isError := v.(error); !isError {
			if _, err := json.Marshal(v); err != nil {
				v = fmt.Sprint(v)
			}
		}
		plain.Data[k] = v
	}
	return f.Formatter.Format(&plain)
}
