package launcher

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
)

// Whoever waits for a build at a terminal sees what is built and that it goes on;
// the line is gone before the program prints its first. A file gets none of it.
func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	keyboard, tty := harness.OpenTerminal(t)
	if err := keyboard.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Log(err) // then the test's own limit has to do
	}
	screen := bufio.NewReader(keyboard)
	frame := func() string {
		text, err := screen.ReadString('\r')
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return text
	}
	done := showProgress(tty, "=> Building ./consumers")
	frame() // the first begins with it
	pattern := regexp.MustCompile(`\A\x1b\[K=> Building \./consumers … \d+ s\r\z`)
	for range 3 {
		if text := frame(); !pattern.MatchString(text) {
			t.Errorf("shown %q", text)
		}
	}
	done()
	if _, err := tty.WriteString("END\r"); err != nil {
		t.Fatal(err)
	}
	for {
		text := frame()
		if text == "\x1b[KEND\r" {
			break
		}
		if !pattern.MatchString(text) {
			t.Fatalf("shown %q", text)
		}
	}

	name := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	showProgress(file, "=> Building ./consumers")()
	if text, err := os.ReadFile(name); err != nil || len(text) > 0 {
		t.Errorf("a file got %q, %v", text, err)
	}
}
