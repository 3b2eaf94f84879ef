// Package examples runs the examples as their README says: with the racecar
// command and its embedded broker.
package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/launcher"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"racecar":    func() { os.Exit(launcher.Main()) },
		"racecarctl": func() { os.Exit(launcher.Main()) },
	})
}

// TestExamples runs each example's try.txtar in a copy of its module.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("*/try.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts %v, %v", scripts, err)
	}
	for _, script := range scripts {
		dir := filepath.Dir(script)
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup:               func(env *testscript.Env) error { return setup(env, root, dir) },
				Condition:           condition,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"consumed":   consumed,
					"copyenv":    copyenv,
					"eventually": eventually,
					"http":       request,
					"lines":      lines,
					"message":    message,
					"postgres":   runPostgres,
				},
			})
		})
	}
}

// TestREADMEsCanBeFollowed checks the READMEs' go commands: an example's go.mod has the modules
// that the example needs, which are fewer than racecar's own.
func TestREADMEsCanBeFollowed(t *testing.T) {
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readmes, err := filepath.Glob("*/README.md")
	if err != nil || len(readmes) == 0 {
		t.Fatalf("READMEs %v, %v", readmes, err)
	}
	goRun := regexp.MustCompile(`\bgo run ([^\s-]\S*)`)
	found := 0
	for _, readme := range readmes {
		dir := filepath.Dir(readme)
		if !strings.Contains(string(index), fmt.Sprintf("[%s](%[1]s)", dir)) {
			t.Errorf("examples/README.md does not name %s", dir)
		}
		if _, err := os.Stat(filepath.Join(dir, "try.txtar")); err != nil {
			continue // its modules may be missing on this machine
		}
		text, err := os.ReadFile(readme)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range goRun.FindAllStringSubmatch(string(text), -1) {
			found++
			list := exec.Command("go", "list", "-deps", match[1])
			list.Dir = dir
			list.Env = append(os.Environ(), "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly")
			if out, err := list.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", readme, match[0], err, out)
			}
		}
	}
	if found == 0 {
		t.Error("nothing was looked at")
	}
}

// setup copies the example and has the go command use this machine's caches, without the
// network.
func setup(env *testscript.Env, root, dir string) error {
	env.Cd = filepath.Join(env.WorkDir, dir)
	if err := os.CopyFS(env.Cd, os.DirFS(dir)); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(env.Cd, "tmp")); err != nil { // from a run by hand
		return err
	}
	edit := exec.Command("go", "mod", "edit", "-replace=github.com/racecar-go/racecar="+root)
	edit.Dir = env.Cd
	if out, err := edit.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		return err
	}
	caches := strings.Fields(string(out))
	for name, value := range map[string]string{
		"GOCACHE": caches[0], "GOMODCACHE": caches[1], "GOPROXY": "off", "GOTOOLCHAIN": "local",
		"GOSUMDB":         "off",               // our own go.sum has verified the cache
		"GOFLAGS":         "-ldflags=-w",       // a third less to link
		"GORACE":          "atexit_sleep_ms=0", // else each of our commands takes a second longer with -race
		"XDG_CACHE_HOME":  filepath.Join(env.WorkDir, ".cache"),
		"XDG_RUNTIME_DIR": filepath.Join(env.WorkDir, ".run"),
		// This script's supervisor alone: others may run on the same machine.
		"RACECAR_CONTROL_SOCKET": filepath.Join(env.WorkDir, ".run", "control.sock"),
	} {
		env.Setenv(name, value)
	}
	return os.Mkdir(filepath.Join(env.WorkDir, ".run"), 0o700)
}

// until polls, since nothing signals what other processes do.
func until(ts *testscript.TestScript, ask func() (soFar string, done bool)) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		soFar, done := ask()
		if done {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("a minute later still: %s", soFar)
		}
	}
}

// eventually runs a command until it succeeds and its stdout matches:
// `eventually PATTERN COMMAND ARGS...`.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	until(ts, func() (string, bool) {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		return fmt.Sprintf("%v\n%s%s", err, out, ts.ReadFile("stderr")), err == nil && pattern.MatchString(out)
	})
}

// copyenv sets a variable to the content of a file: `copyenv NAME FILE`.
func copyenv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// consumed waits until workers have passed N messages: `consumed N [CONSUMER]`.
// Waiting for no lag would not suffice: the workers may not know of the messages yet.
func consumed(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	until(ts, func() (string, bool) {
		err := ts.Exec("racecarctl", append([]string{"lag", "--json"}, args[1:]...)...)
		out := ts.ReadFile("stdout")
		var partitions []struct{ Position int64 }
		if err == nil {
			err = json.Unmarshal([]byte(out), &partitions)
		}
		sum := int64(0)
		for _, p := range partitions {
			sum += max(0, p.Position)
		}
		return fmt.Sprintf("%v\n%s%s", err, out, ts.ReadFile("stderr")), sum == want
	})
}

// lines waits until the files of a directory have N lines: `lines N DIR`.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, func() (string, bool) {
		files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "*.jsonl"))
		ts.Check(err)
		n := 0
		for _, f := range files {
			n += strings.Count(ts.ReadFile(f), "\n")
		}
		return fmt.Sprintf("%d lines in %v", n, files), fmt.Sprint(n) == args[0]
	})
}

// message waits for a message that matches: `message TOPIC PATTERN`.
func message(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	client, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("RACECAR_BROKERS")), kgo.ConsumeTopics(args[0]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			ts.Fatalf("no message in topic %s matches %s", args[0], pattern)
		}
		for _, r := range fetches.Records() {
			ts.Logf("%s: %s", args[0], r.Value)
			if pattern.Match(r.Value) {
				return
			}
		}
	}
}

// request makes an HTTP request: `http METHOD URL BODY STATUS`.
func request(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(args[0], args[1], strings.NewReader(args[2]))
	ts.Check(err)
	answer, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if got := fmt.Sprint(answer.StatusCode); got != args[3] {
		ts.Fatalf("%s %s: %s %s", args[0], args[1], answer.Status, body)
	}
}
