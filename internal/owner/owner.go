// Package owner tells whose a file or folder is: what another user of the host has
// put somewhere is not run, trusted or written to. Root's files are trusted, since
// root could do anything anyway.
package owner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Trusted checks that a file belongs to this user or to root. Under sudo the user
// who called it counts as well. It follows no symbolic link; the error names the
// path, its owner and what to do. A path that does not exist is an fs.ErrNotExist.
func Trusted(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return trusted(path, info)
}

func trusted(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || TrustedUser(int(st.Uid)) {
		return nil
	}
	return fmt.Errorf("%s belongs to user %d, neither to you (%d) nor to root: it could run anything in your name; run racecar as that user, or chown it",
		path, st.Uid, os.Geteuid())
}

// TrustedUser reports whether a user is this one or root, or, under sudo, the one who
// called it.
func TrustedUser(uid int) bool {
	return uid == 0 || uid == os.Geteuid() || os.Geteuid() == 0 && os.Getenv("SUDO_UID") == strconv.Itoa(uid)
}

// NotPlanted checks a path like Trusted if it lies in a folder that everybody can write
// to. Elsewhere whoever may write decides whose files there are.
func NotPlanted(path string) error {
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil || folder.Mode().Perm()&0o002 == 0 {
		return err
	}
	return Trusted(path)
}

// Private checks that only this user can put things into a folder: it is no link, it
// belongs to this user, and others cannot write to it.
func Private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, not to you (%d)", dir, st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others (mode %04o)", dir, info.Mode().Perm())
	}
	return nil
}

// OpenAppend opens a logfile for appending, made for its owner and group if need be,
// since lines may quote messages. A link that another user has put there is not followed,
// and in a folder that everybody can write to, no file or pipe of another user is opened:
// it would be read by its owner, or never.
func OpenAppend(path string) (*os.File, error) {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW
	folder, err := os.Stat(filepath.Dir(path))
	shared := err == nil && folder.Mode().Perm()&0o002 != 0
	info, err := os.Lstat(path)
	link := err == nil && info.Mode()&os.ModeSymlink != 0
	if link || err == nil && shared {
		if err := Trusted(path); err != nil {
			return nil, err
		}
	}
	if link {
		flags &^= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flags, 0o640)
	if err != nil || !shared || link {
		return f, err
	}
	// The file may have been replaced since the check: check the open one.
	if info, err = f.Stat(); err == nil {
		err = trusted(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
