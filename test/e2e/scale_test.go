package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/test/harness"
)

var superseded = regexp.MustCompile(`^exit 1: Error: superseded by a later scale \([1-4] workers?\)\n$`)

// However many operators compete, each gets an answer, the supervisor can be asked
// for its status all the while, and nothing is left of them.
func TestCompetingScales(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--control-socket", socket, "Journal")
	c := newControl(t, socket)
	c.statusUntil("running", allRunning(1))
	before := descriptors(t, p.Pid())

	const orders = 150
	answers := make(chan string, orders) // empty: carried out
	for i := range orders {
		go func() {
			var out, words bytes.Buffer
			code := ctl.Main([]string{"scale", fmt.Sprint(1 + i%4), "--socket", socket}, strings.NewReader(""), &out, &words)
			if code == 0 && strings.Contains(out.String(), "Scaled to ") {
				answers <- ""
			} else {
				answers <- fmt.Sprintf("exit %d: %s", code, words.String())
			}
		}()
	}
	longest, carriedOut, late := time.Duration(0), 0, time.After(2*time.Minute)
	for got := 0; got < orders; {
		asked := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := c.Status(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(asked))
		select {
		case answer := <-answers:
			got++
			switch {
			case answer == "":
				carriedOut++
			case !superseded.MatchString(answer):
				t.Errorf("answer: %s", answer)
			}
		case <-late:
			t.Fatalf("%d of %d orders have no answer", orders-got, orders)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Logf("%d of %d orders carried out, the slowest status took %v", carriedOut, orders, longest)
	if carriedOut == 0 {
		t.Error("not even the last order was carried out")
	}
	if longest > 10*time.Second { // one is what workers have to report, the others are for a busy machine
		t.Errorf("a status took %v", longest)
	}
	if err := c.Scale(t.Context(), "", 1, discard); err != nil {
		t.Error(err)
	}
	c.statusUntil("one worker again", allRunning(1))
	harness.Eventually(t, "descriptors closed", func() error {
		if now := descriptors(t, p.Pid()); now > before {
			return fmt.Errorf("%d descriptors, %d before", now, before)
		}
		return nil
	})
	stop(t, p)
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
