package launcher

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuickStart pastes the README's quick start into a shell. A local module proxy serves
// this checkout as the latest release.
func TestQuickStart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds real programs")
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	caches := strings.Fields(runIn(t, "", nil, "go", "env", "GOCACHE", "GOMODCACHE"))
	proxy, home, runtime := t.TempDir(), t.TempDir(), t.TempDir()
	publish(t, checkout, proxy, "v1.2.3")
	writeFile(t, filepath.Join(proxy, filepath.FromSlash(racecarPath), "@v", "list"), "v1.2.3\n")

	shell := exec.Command("bash", "-e")
	shell.Dir = home
	// Programs that differ only in folder names come from the build cache with -trimpath.
	shell.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+runtime, "XDG_CACHE_HOME="+filepath.Join(home, "cache"),
		"GOBIN="+filepath.Join(home, "bin"), "PATH="+filepath.Join(home, "bin")+":"+os.Getenv("PATH"),
		"GOCACHE="+caches[0], "GOMODCACHE="+filepath.Join(home, "mod"), "GOFLAGS=-modcacherw -buildvcs=false -trimpath", "GOSUMDB=off",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(caches[1], "cache", "download"), "GORACE=atexit_sleep_ms=0")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	typed, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stderr = shell.Stdout
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(kill)
	defer time.AfterFunc(5*time.Minute, kill).Stop()
	enter := func(line string) {
		if _, err := io.WriteString(typed, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	printed := bufio.NewScanner(output)
	waitFor := func(text string) {
		t.Helper()
		var before strings.Builder
		for printed.Scan() {
			if strings.Contains(printed.Text(), text) {
				return
			}
			before.WriteString(printed.Text() + "\n")
		}
		t.Fatalf("the shell ended without printing %q:\n%s", text, &before)
	}
	lines := quickStart(t, checkout)
	if len(lines) != 6 {
		t.Errorf("the quick start has %d lines, want 6", len(lines))
	}
	enter(strings.Join(lines, "\n")) // pasted as one block
	waitFor(`"value":"hello"`)
	enter("racecarctl stop --socket $XDG_RUNTIME_DIR/racecar/*.sock")
	enter("wait; exit")
	for printed.Scan() { // until all programs have ended
	}
	if err := shell.Wait(); err != nil {
		t.Errorf("the shell: %v", err)
	}
}

// quickStart returns the lines of the first shell block behind the README's heading.
func quickStart(t *testing.T, checkout string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(checkout, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(readme), "\n## Quick start\n")
	_, block, _ := strings.Cut(chapter, "\n```sh\n")
	block, _, found := strings.Cut(block, "\n```\n")
	if !found {
		t.Fatal("the README has no quick start")
	}
	return strings.Split(block, "\n")
}
