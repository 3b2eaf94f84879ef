package launcher_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/racecar-go/racecar/launcher"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"racecar":    func() { os.Exit(launcher.Main()) },
		"racecarctl": func() { os.Exit(launcher.Main()) },
	})
}

// TestScripts runs testdata/script: the racecar command in modules whose racecar
// is a few lines, so that building takes no time.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"static": static},
	})
}

// TestFlow runs testdata/flow: the way from an empty folder to a consumer that
// runs, with this checkout as racecar.
func TestFlow(t *testing.T) {
	if testing.Short() {
		t.Skip("builds real programs")
	}
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "flow"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": eventually,
			"copyenv":    copyenv,
		},
	})
}

// setup lets the go command of a script use this machine's caches and nothing
// of the network, and puts racecar.txtar beside the script's module.
func setup(env *testscript.Env) error {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		return err
	}
	caches := strings.Fields(string(out))
	env.Setenv("GOCACHE", caches[0])
	env.Setenv("GOMODCACHE", caches[1])
	env.Setenv("COMMANDS", filepath.SplitList(env.Getenv("PATH"))[0]) // only racecar is there
	env.Setenv("GOPROXY", "off")
	env.Setenv("GOSUMDB", "off")              // what the cache holds was verified by our own go.sum
	env.Setenv("GOFLAGS", "-ldflags=-w")      // a third less to link
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command of ours takes a second more under -race
	env.Setenv("GOTOOLCHAIN", "local")
	env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, ".run")) // supervisors of this script only
	if err := os.Mkdir(filepath.Join(env.WorkDir, ".run"), 0o700); err != nil {
		return err
	}
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
	fake, err := txtar.ParseFile(filepath.Join("testdata", "racecar.txtar"))
	if err != nil {
		return err
	}
	return txtar.Write(fake, filepath.Join(env.WorkDir, "racecar"))
}

// static checks that a program asks for no dynamic linker: `static FILE`.
func static(ts *testscript.TestScript, _ bool, args []string) {
	if runtime.GOOS != "linux" {
		return // elsewhere the system's library is always linked
	}
	f, err := elf.Open(args[0])
	ts.Check(err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			ts.Fatalf("%s is dynamically linked", args[0])
		}
	}
}

// eventually runs a command again and again until it succeeds and its stdout
// matches, as nothing signals what another process prints: `eventually PATTERN
// COMMAND ARGS...`.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND ARGS...")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && pattern.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("a minute later still: %v\n%s%s", err, out, ts.ReadFile("stderr"))
		}
	}
}

// copyenv sets a variable to what is in a file: `copyenv NAME FILE`.
func copyenv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
