package cli

import (
	"errors"
	"os"
	"testing"
	"time"
)

// The exit does not wait until somebody reads the last line.
func TestUnreadStderrDoesNotDelayTheExit(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	if err := w.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if code := fail(w, errors.New("not all stopped in order")); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}
