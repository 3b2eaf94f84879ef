//go:build linux

package supervisor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "100000")
	got := make(chan string, 100)
	go func() {
		defer close(got)
		buf := make([]byte, 1000)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			got <- string(buf[:n])
		}
	}()
	r := runSupervisor(t, testConsumer("A", "", 1))
	st := r.until("running", running(1))
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(st.Workers[0].PID) + "/environ")
	if err != nil || strings.Contains(string(environ), "NOTIFY_SOCKET") {
		t.Errorf("a worker has the socket: %v", err)
	}
	var all []string
	await := func(want string) {
		t.Helper()
		for {
			select {
			case m := <-got:
				all = append(all, m)
				if m == want {
					return
				}
			case <-time.After(testTimeout):
				t.Fatalf("no %q: %q", want, all)
			}
		}
	}
	await("READY=1")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	if err := r.sup.Stop(context.Background(), StopOptions{}); err != nil {
		t.Fatal(err)
	}
	await("STOPPING=1")
	_, _ = r.wait()
	if slices.Contains(all, "READY=1") && slices.Index(all, "READY=1") > slices.Index(all, "STOPPING=1") {
		t.Errorf("order %q", all)
	}
}

// A reload that ends before the workers are up does not make the start complete.
func TestReloadBeforeReadiness(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	silent := testConsumer("A", "silent", 1)
	r := runSupervisor(t, silent)
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{silent}})
	if err := r.sup.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.until("through with the reload", func(status.Status) bool { return strings.Contains(r.log.String(), "nothing changed") })
	if err := r.sup.Stop(context.Background(), StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if code, err := r.wait(); code != 0 || err != nil { // with nothing in hand it is not waited for
		t.Errorf("%d, %v", code, err)
	}
	var all []string
	buf := make([]byte, 1000)
	for !slices.Contains(all, "STOPPING=1") {
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(buf[:n]))
	}
	if slices.Contains(all, "READY=1") || !strings.HasPrefix(all[0], "RELOADING=1") {
		t.Errorf("heard %q", all)
	}
}
