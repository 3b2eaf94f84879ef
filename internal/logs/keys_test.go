package logs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
