package launcher

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// source is where this launcher's own code comes from, for modules that do not require
// racecar yet.
type source struct {
	dir     string // a checkout; empty: none
	version string // a published version; empty: none
}

// ownSource finds out. A launcher built in a checkout names the checkout as long
// as it is there; an installed one its version.
func ownSource() source {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path != racecarPath {
		return source{}
	}
	// Only a module that came as a module has a checksum: the go command also
	// gives a checkout a version, made up of its commit.
	if info.Main.Sum != "" && semver.IsValid(info.Main.Version) {
		return source{version: info.Main.Version}
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // -trimpath
		return source{}
	}
	dir := filepath.Dir(filepath.Dir(file))
	raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || modfile.ModulePath(raw) != racecarPath {
		return source{} // the checkout is gone
	}
	return source{dir: dir}
}
