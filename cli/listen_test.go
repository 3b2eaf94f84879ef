package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/test/harness"
)

// TestControlSocket listens where control_socket says, else beside the pidfile.
func TestControlSocket(t *testing.T) {
	dir := t.TempDir()
	runtime := ctl.Runtime{Dirs: []string{filepath.Join(dir, "run")}}
	pidfile := filepath.Join(dir, "a.pid")
	for _, tt := range []struct {
		c    config.Config
		want string
	}{
		{config.Config{ControlSocket: filepath.Join(dir, "ctl.sock"), Pidfile: pidfile}, filepath.Join(dir, "ctl.sock")},
		{config.Config{Pidfile: pidfile}, ctl.SocketBeside(pidfile)},
	} {
		log, _ := logtest.NewNullLogger()
		socket, err := listen(&tt.c, runtime, log)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", tt.want)
		if err != nil {
			t.Errorf("nobody at %s: %v", tt.want, err)
		} else {
			_ = conn.Close()
		}
		if err := socket.close(); err != nil {
			t.Error(err)
		}
	}
}

// With a socket of its own a supervisor needs no folder for sockets: without one it
// says that racecarctl has to be told, and starts.
func TestUnusableRuntimeFolder(t *testing.T) {
	dir := t.TempDir()
	runtime := ctl.Runtime{Dirs: []string{filepath.Join(dir, "no", "folder")}}
	log, hook := logtest.NewNullLogger()
	socket, err := listen(&config.Config{Pidfile: filepath.Join(dir, "a.pid")}, runtime, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := socket.close(); err != nil {
			t.Error(err)
		}
	})
	socket.restore() // logs nothing twice
	if n := len(hook.AllEntries()); n != 1 || hook.LastEntry().Message != notFound {
		t.Errorf("%d lines: %v", n, hook.AllEntries())
	}
	if _, err := listen(&config.Config{}, runtime, log); err == nil {
		t.Error("without control_socket and pidfile there is nowhere to listen")
	}
}

// A removed control socket is recreated at a HUP, and so is its link.
func TestRemovedControlSocketIsRecreated(t *testing.T) {
	dir := t.TempDir()
	runtime := ctl.Runtime{Dirs: []string{filepath.Join(dir, "run")}}
	log, hook := logtest.NewNullLogger()
	socket, err := listen(&config.Config{ControlSocket: filepath.Join(dir, "a.sock")}, runtime, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); socket.keep(ctx) }()
	for _, path := range []string{"a.sock", "run"} {
		if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	socket.reload()
	harness.Eventually(t, "the socket found again", func() error {
		found, err := runtime.Find(t.Context())
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("found %q", found)
		}
		return err
	})
	cancel()
	<-kept
	if e := hook.LastEntry(); e == nil || e.Message != "the control socket had been removed and was recreated" {
		t.Errorf("log: %v", e)
	}
	if err := socket.close(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
