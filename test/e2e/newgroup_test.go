package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// Another group_id is refused by HUP and by a restart, which name both groups, until it
// is asked for.
func TestNewGroupHasToBeAskedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	other := b.broker.Group()
	file, socket := filepath.Join(t.TempDir(), "racecar.yml"), filepath.Join(t.TempDir(), "s.sock")
	configure := func(group string) {
		writeFile(t, file, fmt.Sprintf("common:\n  brokers: [%s]\n  group_id: %s\n  heartbeat_interval: 0.2\n",
			strings.Join(b.broker.Addrs(), ", "), group))
	}
	configure(b.group)
	p := harness.Start(t, harness.Command{
		Role: "app", Args: []string{"--config", file, "--control-socket", socket, "--log-format", "text", "Journal"},
		Env: []string{"JOURNAL_DIR=" + b.dir, "JOURNAL_TOPICS=" + b.topic},
	})
	b.awaitProcessed(b.total())
	c := newControl(t, socket)
	before := c.statusUntil("at work", allRunning(1))
	configure(other)
	p.Signal(syscall.SIGHUP)
	p.WaitLine("reload failed.*Journal would change its group from " + b.group + " to " + other)
	if err := c.Restart(t.Context(), "", discard); err == nil || !strings.Contains(err.Error(), "from "+b.group+" to "+other) {
		t.Errorf("restart: %v", err)
	}
	if after := c.statusUntil("at work", allRunning(1)); pids(after) != pids(before) || len(b.records()) != b.total() {
		t.Errorf("%s before, %s after, %d messages processed of %d", pids(before), pids(after), len(b.records()), b.total())
	}
	if err := c.RestartWith(t.Context(), ctl.RestartOptions{NewGroup: true}, discard); err != nil {
		t.Fatal(err)
	}
	c.statusUntil("in the other group", func(st status.Status) error {
		if w := st.Workers[0]; w.Group != other || w.Release != 2 {
			return fmt.Errorf("group %s, release %d", w.Group, w.Release)
		}
		return nil
	})
	stop(t, p)
}
