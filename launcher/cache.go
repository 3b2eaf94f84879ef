package launcher

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/owner"
)

// cache is a folder of the user's cache with the programs built from one set of
// packages:
//
//	stamp.json              the inputs of the newest program
//	bin/DIGEST/racecar      the newest programs, by their content
//	build/                  what the go command wrote last, so that it can tell
//	                        that nothing has changed
//	lock                    held while building
//
// A program keeps its path for as long as its content is the same, and one that
// runs is never written to.
type cache struct {
	dir  string
	from source // of racecar, for modules that do not know it
}

const (
	stampFile   = "stamp.json"
	programName = "racecar"
	// keptPrograms stay beside the newest one, for switching back and forth.
	keptPrograms = 2
	// keptUnused is how long a cache that nobody uses is kept.
	keptUnused = 30 * 24 * time.Hour
)

// openCache finds the folder for the given packages of a module.
func openCache(m *module, all []required) (*cache, error) {
	base, err := cacheBase()
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256([]byte(strings.Join(append([]string{m.root}, patterns(all)...), "\x00")))
	c := &cache{dir: filepath.Join(base, hex.EncodeToString(h[:12])), from: ownSource()}
	return c, ownFolder(c.dir)
}

// cacheBase is the folder of all caches: in the user's cache, or, where another user
// could have put programs into that, in the folder for temporary files.
func cacheBase() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("nowhere to keep built programs: %w; set XDG_CACHE_HOME or HOME", err)
	}
	base := filepath.Join(dir, "racecar")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	shared := ownFolder(base)
	if shared == nil {
		return base, nil
	}
	base = filepath.Join(os.TempDir(), fmt.Sprintf("racecar-cache-%d", os.Geteuid()))
	if err := ownFolder(base); err != nil {
		return "", fmt.Errorf("nowhere to keep built programs: %w; %w; set XDG_CACHE_HOME to a folder of your own", shared, err)
	}
	return base, nil
}

// ownFolder makes a folder that nobody else can have put anything into.
func ownFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return owner.Private(dir)
}

// current returns the program if it is up to date, else an empty string.
func (c *cache) current(environment string) string {
	s, err := readStamp(filepath.Join(c.dir, stampFile))
	if err != nil || !s.fresh(environment) {
		return "" // a stamp that cannot be read is rewritten by the build
	}
	name := filepath.Join(c.dir, s.Program)
	dir := filepath.Dir(name)
	if !filepath.IsLocal(s.Program) || owner.Private(dir) != nil || owner.Private(filepath.Dir(dir)) != nil || owner.Trusted(name) != nil {
		return "" // not a program that a build of ours has put there
	}
	c.used()
	return name
}

// used marks the cache as in use, once a day.
func (c *cache) used() {
	name := filepath.Join(c.dir, stampFile)
	if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
		// Failing costs a rebuild in a month.
		_ = os.Chtimes(name, time.Time{}, time.Now())
	}
}

// lock waits until no other launcher builds here.
func (c *cache) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// build builds the program and returns its path.
func (c *cache) build(ctx context.Context, g *goTool, m *module, all []required, environment string) (string, error) {
	began := time.Now()
	built := filepath.Join(c.dir, "build", programName)
	if err := os.MkdirAll(filepath.Dir(built), 0o700); err != nil {
		return "", err
	}
	b := build{tool: g, module: m, required: all, from: c.from, work: c.dir}
	listed, err := b.run(ctx, "-buildvcs=false", "-o", built)
	if err != nil {
		return "", err
	}
	name, err := c.keep(built)
	if err != nil {
		return "", err
	}
	files, dirs := inputs(g, m, all, listed)
	s := newStamp(files, dirs, environment, began)
	s.Program = name
	if err := s.write(filepath.Join(c.dir, stampFile)); err != nil {
		return "", err
	}
	c.prune(name)
	return filepath.Join(c.dir, name), nil
}

// keep copies the built program to where its content says and returns the path
// in the cache.
func (c *cache) keep(built string) (string, error) {
	from, err := os.Open(built)
	if err != nil {
		return "", err
	}
	defer from.Close()
	h := sha256.New()
	if _, err := io.Copy(h, from); err != nil {
		return "", err
	}
	name := filepath.Join("bin", hex.EncodeToString(h.Sum(nil)[:12]), programName)
	to := filepath.Join(c.dir, name)
	if _, err := os.Stat(to); err == nil {
		return name, os.Chtimes(filepath.Dir(to), time.Time{}, time.Now())
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	// Under another name first: a copy that is interrupted must not be taken for whole.
	f, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return name, os.Rename(to+".new", to)
}

// prune removes old programs of this cache, and caches that were long not used.
// What cannot be removed stays until next time.
func (c *cache) prune(current string) {
	bin := filepath.Join(c.dir, "bin")
	old := byAge(bin)
	old = slices.DeleteFunc(old, func(e os.FileInfo) bool { return e.Name() == filepath.Base(filepath.Dir(current)) })
	for _, e := range old[min(keptPrograms, len(old)):] {
		_ = os.RemoveAll(filepath.Join(bin, e.Name()))
	}
	base := filepath.Dir(c.dir)
	for _, e := range byAge(base) {
		dir := filepath.Join(base, e.Name())
		info, err := os.Stat(filepath.Join(dir, stampFile))
		if err == nil && dir != c.dir && time.Since(info.ModTime()) > keptUnused {
			_ = os.RemoveAll(dir)
		}
	}
}

// byAge lists a directory, the newest entry first.
func byAge(dir string) []os.FileInfo {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b os.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	return all
}
