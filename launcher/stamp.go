package launcher

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stampVersion changes when stamps of before can no longer be trusted.
const stampVersion = 1

// stamp is the state of all that went into a build. While it is unchanged, so is
// what would be built.
type stamp struct {
	Version int `json:"version"`
	// Program is the built file, relative to the cache's folder.
	Program string `json:"program"`
	// Environment is a digest of the variables that the go command heeds.
	Environment string               `json:"environment"`
	Files       map[string]fileState `json:"files"`
	Dirs        map[string]dirState  `json:"dirs"`
}

// fileState is the identity of a file's content as far as the file system tells
// it. The zero value is the state of a file that is not there.
type fileState struct {
	Size  int64  `json:"size"`
	Time  int64  `json:"time"` // of the last change, nanoseconds
	Inode uint64 `json:"inode"`
}

// dirState notices files that come or go.
type dirState struct {
	Time  int64  `json:"time"`
	Names string `json:"names"` // digest
}

// unsure never equals what is found later: the input changed so shortly before
// the build that the build may have seen what was before.
var unsure = fileState{Size: -1}

// newStamp takes the state of the inputs of a build that began at began.
func newStamp(files, dirs []string, environment string, began time.Time) stamp {
	// Clocks of file systems are coarse, and so is the order of events that
	// they tell.
	settled := began.Add(-20 * time.Millisecond).UnixNano()
	s := stamp{Version: stampVersion, Environment: environment, Files: map[string]fileState{}, Dirs: map[string]dirState{}}
	for _, name := range files {
		state := stateOf(name)
		if state.Time >= settled {
			state = unsure
		}
		s.Files[name] = state
	}
	for _, name := range dirs {
		state := dirState{Time: stateOf(name).Time, Names: namesIn(name)}
		if state.Time >= settled {
			state = dirState{Names: "unsure"}
		}
		s.Dirs[name] = state
	}
	return s
}

// fresh reports whether nothing has changed.
func (s stamp) fresh(environment string) bool {
	if s.Version != stampVersion || s.Environment != environment || len(s.Files) == 0 {
		return false
	}
	for name, state := range s.Files {
		if stateOf(name) != state {
			return false
		}
	}
	for name, state := range s.Dirs {
		// An editor's temporary file changes the time only.
		if stateOf(name).Time != state.Time && namesIn(name) != state.Names {
			return false
		}
	}
	return true
}

func stateOf(name string) fileState {
	info, err := os.Stat(name)
	if err != nil {
		return fileState{}
	}
	s := fileState{Size: info.Size(), Time: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode = uint64(st.Ino)
	}
	return s
}

// namesIn is a digest of what lies in a directory; empty when it is not there.
func namesIn(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	h := sha256.New()
	for _, e := range entries {
		h.Write([]byte(e.Name() + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// runtimeVariables begin with GO but change nothing that is built.
var runtimeVariables = []string{"GOGC", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GORACE", "GOCOVERDIR"}

// buildEnvironment is a digest of the variables that the go command heeds.
func buildEnvironment(environ []string) string {
	var relevant []string
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case slices.Contains(runtimeVariables, name):
		case strings.HasPrefix(name, "GO"), strings.HasPrefix(name, "CGO_"), name == "CC", name == "CXX", name == "PKG_CONFIG":
			relevant = append(relevant, v)
		}
	}
	slices.Sort(relevant)
	sum := sha256.Sum256([]byte(strings.Join(relevant, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func readStamp(name string) (stamp, error) {
	var s stamp
	raw, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(raw, &s)
}

// write replaces the stamp at name, in one step for those who read it.
func (s stamp) write(name string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temporary := name + ".new"
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// inputs are the files and folders that a build of the listed packages read:
// those of the module and of modules that are replaced by folders. Packages in
// the module cache never change.
func inputs(g *goTool, m *module, all []required, listed []goPackage) (files, dirs []string) {
	files = append(files, g.path, filepath.Join(m.root, "go.mod"), filepath.Join(m.root, "go.sum"),
		filepath.Join(m.root, "vendor", "modules.txt"), goEnvFile())
	files = append(files, workspaceFiles(m.root)...)
	for _, p := range listed {
		if p.Standard || p.Dir == "" || !changeable(p.Module) || filepath.Base(p.Dir) == mainDir {
			continue
		}
		if !p.Module.Main { // its go.mod may be our copy, which each build writes
			files = append(files, p.Module.GoMod)
		}
		dirs = append(dirs, p.Dir)
		for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.IgnoredOtherFiles, p.CFiles, p.CXXFiles, p.HFiles, p.SFiles, p.SysoFiles, p.EmbedFiles} {
			for _, n := range names {
				name := filepath.Join(p.Dir, n)
				files = append(files, name)
				// Each folder on the way: a new one beside them may be embedded, too.
				for dir := filepath.Dir(name); strings.HasPrefix(dir, p.Dir) && dir != p.Dir; dir = filepath.Dir(dir) {
					dirs = append(dirs, dir)
				}
			}
		}
	}
	for _, r := range all {
		dirs = append(dirs, r.dir)
		if r.below {
			dirs = append(dirs, dirsBelow(r.dir)...)
		}
	}
	return unique(files), unique(dirs)
}

func changeable(m *goModule) bool {
	return m != nil && (m.Main || m.Replace != nil && m.Replace.Version == "")
}

// dirsBelow are the directories that the pattern dir/... looks into.
func dirsBelow(dir string) []string {
	var all []string
	// A directory that cannot be read has no packages for the go command either.
	_ = filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil //nolint:nilerr // see above
		}
		if base := e.Name(); name != dir && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
			return filepath.SkipDir
		}
		all = append(all, name)
		return nil
	})
	return all
}

// goEnvFile is where `go env -w` writes.
func goEnvFile() string {
	if name := os.Getenv("GOENV"); name != "" {
		return name
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "go", "env")
}

// workspaceFiles are the places where a go.work would make itself felt.
func workspaceFiles(root string) []string {
	if name := os.Getenv("GOWORK"); name != "" {
		return []string{name, name + ".sum"}
	}
	var all []string
	for dir := root; ; dir = filepath.Dir(dir) {
		name := filepath.Join(dir, "go.work")
		all = append(all, name, name+".sum")
		if dir == filepath.Dir(dir) {
			return all
		}
	}
}

func unique(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}
