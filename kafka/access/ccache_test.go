package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A credential cache must be a regular file of ours or root's. A file of another user neither
// logs us in nor blocks us.
func TestCredentialCachesOfOthersAreRejected(t *testing.T) {
	dir := t.TempDir()
	pipe, others, folder := filepath.Join(dir, "pipe"), filepath.Join(dir, "others"), filepath.Join(dir, "folder")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, others, []byte("\x05\x04"))
	cases := map[string]string{pipe: "is not a regular file", folder: "is not a regular file", filepath.Join(dir, "none"): "run kinit"}
	const nobody = 65534
	if err := os.Chown(others, nobody, nobody); err == nil { // as root
		cases[others] = "belongs to user 65534"
	}
	for path, want := range cases {
		done := make(chan error, 1)
		go func() { done <- (&kerberos{ccache: path}).readCCache() }()
		select {
		case err := <-done:
			var refused *ConfigError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want that it %s", path, err, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s is waited for", path)
		}
	}
}
