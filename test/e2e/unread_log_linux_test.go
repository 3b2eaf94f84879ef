package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/status"
)

// When nobody reads the log, orders are carried out, messages are processed, and the
// status says what is wrong; when somebody reads again, all is well.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "log"), filepath.Join(dir, "s.sock")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := unix.FcntlInt(log.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.program, b.prefix = "/bin/sh", []string{"-c", `exec "$@" >"$0"`, fifo, exe}
	p := b.start(nil, "--control-socket", socket, "--log-level", "debug", "Journal")
	c := newControl(t, socket)
	c.statusUntil("the unread log told of", func(st status.Status) error {
		if len(st.Workers) != 1 || st.Workers[0].Report == nil {
			return fmt.Errorf("%+v", st.Workers)
		}
		for _, told := range []string{st.LogProblem, st.Workers[0].Report.LogProblem} {
			if !strings.HasPrefix(told, "the log is not being read") {
				return fmt.Errorf("supervisor %q, worker %q", st.LogProblem, st.Workers[0].Report.LogProblem)
			}
		}
		return nil
	})
	b.awaitProcessed(b.total())
	for _, command := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"pause", func(ctx context.Context) error { return c.Pause(ctx, "", b.topic, 1) }},
		{"resume", func(ctx context.Context) error { return c.Resume(ctx, "", b.topic, 1) }},
		{"quiet", func(ctx context.Context) error { return c.Quiet(ctx, "") }},
		{"scale", func(ctx context.Context) error { return c.Scale(ctx, "", 2, discard) }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := command.run(ctx); err != nil {
			t.Errorf("%s: %v", command.name, err)
		}
		cancel()
	}
	if err := c.Continue(t.Context(), ""); err != nil {
		t.Error(err)
	}
	b.produce(80)
	b.awaitProcessed(b.total())

	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 1<<16)
		for _, err := log.Read(buf); err == nil; _, err = log.Read(buf) {
		}
	}()
	c.statusUntil("the log read again", func(st status.Status) error {
		told := st.LogProblem
		for _, w := range st.Workers {
			if w.Report != nil {
				told += w.Report.LogProblem
			}
		}
		if told != "" {
			return fmt.Errorf("still: %s", told)
		}
		return nil
	})
	_ = log.SetReadDeadline(time.Now()) // and nobody reads again
	<-read
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.judge(b.evidence())
}
