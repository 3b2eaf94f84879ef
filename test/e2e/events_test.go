package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/consumers"
	"github.com/racecar-go/racecar/test/harness"
)

// events are those that all processes have written down, by name.
func events(t *testing.T, dir string) map[string][]json.RawMessage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.events"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]json.RawMessage{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var e consumers.Event
			if json.Unmarshal(lines.Bytes(), &e) == nil { // the last line may be under way
				all[e.Name] = append(all[e.Name], e.Body)
			}
		}
	}
	return all
}

// Observers receive all events in workers and supervisor. An observer that panics and one
// that blocks forever disturb no other.
func TestObserversReceiveAllEventsAndDisturbNobody(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	dir, letters := t.TempDir(), b.broker.Topic(1)
	p := b.start([]string{"JOURNAL_EVENTS=" + dir, "JOURNAL_TRAP=3-4=fail"}, "--parallel-workers", "2",
		"--max-retries", "2", "--pause-timeout", "0.1", "--dead-letter-topic", letters, "Journal")
	b.awaitProcessed(79) // all but one
	has := func(name string, n int) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%d events %s", n, name), func() error {
			if got := len(events(t, dir)[name]); got < n {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	has("process_message", 79)
	has("dead_letter", 1)
	pid := workers(p)["Journal[0]"]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	has("worker_exited", 1)
	has("worker_started", 3)
	has("partitions_assigned", 2) // those of the replacement, which gives them back
	stop(t, p)

	all := events(t, dir)
	for _, name := range []string{
		"start_main_loop", "main_loop", "start_process_message", "process_message", "join_group", "rebalance", "pause_status",
		"partitions_assigned", "partitions_revoked", "dead_letter", "shut_down", "worker_started", "worker_exited",
	} {
		if len(all[name]) == 0 {
			t.Errorf("no event %s", name)
		}
	}
	var letter event.DeadLetter
	raw := strings.Replace(string(all["dead_letter"][0]), `"Err":{}`, `"Err":null`, 1)
	if err := json.Unmarshal([]byte(raw), &letter); err != nil {
		t.Fatal(err)
	}
	if letter.Message.Topic != b.topic || letter.Message.Partition != 3 || letter.Message.Offset != 4 || letter.DeadLetterTopic != letters || letter.Attempts != 3 {
		t.Errorf("dead letter %+v", letter)
	}
	var exited event.WorkerExited
	if err := json.Unmarshal(all["worker_exited"][0], &exited); err != nil {
		t.Fatal(err)
	}
	if want := (event.WorkerExited{Consumer: "Journal", Index: 0, PID: pid, Reason: "killed", Detail: exited.Detail}); exited != want || exited.Detail == "" {
		t.Errorf("worker exited %+v, want %+v", exited, want)
	}
	if n := len(all["worker_exited"]); n != 3 {
		t.Errorf("%d workers exited, want 3", n)
	}
	if !strings.Contains(p.Output(), "Subscriber to events panicked") {
		t.Error("the panic is not in the log")
	}
}
