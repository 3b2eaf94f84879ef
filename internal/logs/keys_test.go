package logs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// written is what a log with these keys writes of one line at each level.
func written(t *testing.T, c config.Config) []string {
	t.Helper()
	c.Logfile = filepath.Join(t.TempDir(), "racecar.log")
	l := open(t, c)
	l.Debug("at debug")
	l.Info("at info")
	l.Warn("at warn")
	l.Error("at error")
	data, err := os.ReadFile(c.Logfile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestLevel(t *testing.T) {
	for level, lines := range map[string]int{"debug": 4, "info": 3, "": 3, "warn": 2, "error": 1} {
		if got := written(t, config.Config{LogLevel: level}); len(got) != lines || !strings.Contains(got[len(got)-1], "at error") {
			t.Errorf("%q: %q", level, got)
		}
	}
}

func TestFormat(t *testing.T) {
	for format, isJSON := range map[string]bool{"text": false, "json": true, "auto": true, "": true} {
		line := written(t, config.Config{LogLevel: "error", LogFormat: format})[0]
		if json.Valid([]byte(line)) != isJSON {
			t.Errorf("%q, not on a terminal: %s", format, line)
		}
		if strings.Contains(line, "\x1b") {
			t.Errorf("%q: colour in a file: %q", format, line)
		}
	}
}

// A message that repeats what a broker says neither commands the terminal nor forges a line.
func TestTerminalLinesAreText(t *testing.T) {
	const hostile = "x\x1b[2J\n=> Crashed: forged\u202ey"
	f, err := formatter("auto", true)
	if err != nil {
		t.Fatal(err)
	}
	e := logrus.NewEntry(logrus.New()).WithField("error", errors.New(hostile))
	e.Level, e.Message = logrus.ErrorLevel, "(try 1/10): "+hostile
	line, err := f.Format(e)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(string(line), "") // our colours
	if strings.ContainsAny(text, "\x1b\u202e") || strings.Count(text, "\n") != 1 || !strings.Contains(text, "(try 1/10): x [2J => Crashed: forged y") {
		t.Errorf("%q", text)
	}
}
