package view

import (
	"os"
	"testing"

	"github.com/racecar-go/racecar/test/harness"
)

// A terminal is drawn on unless it cannot do that; a file never is.
func TestCanRedraw(t *testing.T) {
	_, tty := harness.OpenTerminal(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for kind, want := range map[string]bool{"xterm": true, "dumb": false, "": false} {
		t.Setenv("TERM", kind)
		if got := CanRedraw(tty); got != want {
			t.Errorf("TERM=%q: %v, want %v", kind, got, want)
		}
		if CanRedraw(null) || CanRedraw(nil) {
			t.Errorf("TERM=%q: what is no terminal is taken for one", kind)
		}
	}
}
