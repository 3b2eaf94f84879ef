package owner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is another user's id.
const nobody = 65534

func TestTrusted(t *testing.T) {
	dir := t.TempDir()
	if err := Trusted(dir); err != nil {
		t.Error(err)
	}
	if err := Trusted(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	name := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(name, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := Trusted(name); err == nil {
		t.Error("another user's file is trusted")
	}
	t.Setenv("SUDO_UID", "65534")
	if err := Trusted(name); err != nil {
		t.Errorf("the file of who called sudo: %v", err)
	}
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	mode := func(mode os.FileMode) string {
		path := filepath.Join(dir, mode.String())
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, good := range map[string]bool{mode(0o700): true, mode(0o755): true, mode(0o775): false, mode(0o757): false} {
		if err := Private(path); (err == nil) != good {
			t.Errorf("%s: %v", path, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(mode(0o711), link); err != nil {
		t.Fatal(err)
	}
	if err := Private(link); err == nil {
		t.Error("a link is taken for a private folder")
	}
	if os.Geteuid() == 0 {
		given := mode(0o710)
		if err := os.Chown(given, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if err := Private(given); err == nil {
			t.Error("another user's folder is taken for a private one")
		}
	}
}

func TestOpenAppend(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "log"), filepath.Join(dir, "link")
	write := func(name string) error {
		f, err := OpenAppend(name)
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		return errors.Join(err, f.Close())
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(path), write(link)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 || info.Size() != 2 {
		t.Errorf("%v, %v", info, err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(link, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if err := write(link); err == nil {
			t.Error("another user's link was followed")
		}
	}
}

// In a folder that everybody can write to, the logfile's name may be taken.
func TestOpenAppendInASharedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; .ci/run is root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // without the sticky bit, for which the kernel may refuse already
		t.Fatal(err)
	}
	open := func(name string) error {
		f, err := OpenAppend(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		return f.Close()
	}
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := errors.Join(open("file"), open("file"), os.Chown(file, nobody, nobody), syscall.Mkfifo(pipe, 0o666), os.Chown(pipe, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "pipe"} {
		if err := open(name); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("another user's %s: %v", name, err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open("file"); err != nil {
		t.Errorf("in a folder where nobody else can have put it: %v", err)
	}
	if err := os.Symlink("/dev/stdout", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := open("out"); err != nil {
		t.Errorf("a link to stdout: %v", err)
	}
}
