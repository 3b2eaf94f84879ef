package ctl

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/config"
)

// as runs do with the rights of another user, on a thread of its own.
func as(t *testing.T, uid int, do func() error) {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			runtime.UnlockOSThread()
			result <- errno
			return
		}
		err := do()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno == 0 {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// A socket at which another user listens is not asked: its answers could name a command
// to run. Root may ask for everything but settings.
func TestSupervisorsOfOtherUsersAreNotTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	const stranger, victim = 65533, 65534
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "taken.sock")
	var ln net.Listener
	as(t, stranger, func() (err error) {
		ln, err = net.Listen("unix", path)
		return err
	})
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	sets := Settings{Consumer: "A", Config: config.WithSecrets{SASLKerberosKinitCmd: "id"}}
	srv := NewServer(&fakeSupervisor{sets: map[string]Settings{"A": sets}}, log)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	c := NewClient(path)
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("root: %v", err)
	}
	wantRefused := func(who string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "user 65533 answers there") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", who, err)
		}
	}
	s, err := c.Settings(t.Context(), "A")
	wantRefused("settings for root", err)
	if s.Config.SASLKerberosKinitCmd != "" {
		t.Error("root has a stranger's command")
	}
	as(t, victim, func() error {
		_, err := c.PID(t.Context())
		wantRefused("another user", err)
		return nil
	})
	t.Setenv("SUDO_UID", "65533")
	if _, err := c.Settings(t.Context(), "A"); err != nil {
		t.Errorf("who called sudo: %v", err)
	}
}
