package cli

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
)

// TestControlSocket listens where control_socket says, else beside the pidfile.
func TestControlSocket(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir := t.TempDir()
	pidfile := filepath.Join(dir, "a.pid")
	for _, tt := range []struct {
		c    config.Config
		want string
	}{
		{config.Config{ControlSocket: filepath.Join(dir, "ctl.sock"), Pidfile: pidfile}, filepath.Join(dir, "ctl.sock")},
		{config.Config{Pidfile: pidfile}, ctl.SocketBeside(pidfile)},
	} {
		_, closeSocket, err := listen(&tt.c)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", tt.want)
		if err != nil {
			t.Errorf("nobody at %s: %v", tt.want, err)
		} else {
			_ = conn.Close()
		}
		if err := closeSocket(); err != nil {
			t.Error(err)
		}
	}
}
