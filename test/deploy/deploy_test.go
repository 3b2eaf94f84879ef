// Package deploy runs what deploy/ has under the supervisors it is for, as far as
// these are installed (.ci/install-supervisors), and checks the rest.
package deploy

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
	"github.com/racecar-go/racecar/test/harness"
)

const root = "../../deploy/"

func TestMain(m *testing.M) {
	code := harness.Main(m, nil)
	if dir, err := appDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var appDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "deploy") })

// app builds the program of all sites, once, and returns its folder.
var app = sync.OnceValues(func() (string, error) {
	dir, err := appDir()
	if err != nil {
		return "", err
	}
	// Without what a debugger reads: a third less to link.
	out, err := exec.Command("go", "build", "-ldflags=-w", "-o", filepath.Join(dir, "racecar"), "./app").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// setting finds variables as the files write them: `{name: X, value: "v"}`,
// `ENV X=v`, `Environment=X=v`.
var setting = regexp.MustCompile(`name: (RACECAR_\w+), value: "?([^"}\n]*)"?|(RACECAR_\w+)=(\S+)`)

// What the files set is accepted, name and value.
func TestSettings(t *testing.T) {
	for _, name := range []string{"Dockerfile", "kubernetes/deployment.yaml", "kubernetes/statefulset.yaml", "systemd/racecar.service"} {
		var environ []string
		for line := range strings.Lines(read(t, name)) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, m := range setting.FindAllStringSubmatch(line, -1) {
				environ = append(environ, m[1]+m[3]+"="+m[2]+m[4])
			}
		}
		if len(environ) == 0 {
			t.Errorf("%s sets nothing", name)
		}
		environ = append(environ, "RACECAR_STATUS_TOKEN=0123456789abcdef") // from a Secret
		if _, err := config.Load(config.Options{NoFile: true, Environ: environ}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The Dockerfile's command makes a program that needs nothing of its image.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 go build .*) -o /out/racecar \.$`).FindStringSubmatch(read(t, "Dockerfile"))
	if command == nil {
		t.Fatal("the Dockerfile builds otherwise than this test thinks")
	}
	out := filepath.Join(t.TempDir(), "racecar")
	sh := exec.Command("sh", "-c", command[1]+" -o "+out+" ./app")
	if output, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	program, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: %v", p.Type)
		}
	}
}

func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	analyze := tool(t, "systemd-analyze")
	dir := t.TempDir()
	unit := strings.ReplaceAll(read(t, "systemd/racecar.service"), "/srv/user-bans/racecar", "/bin/true")
	path := filepath.Join(dir, "racecar.service")
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), path) {
		t.Errorf("%v: %s", err, out)
	}
}

// self is the user that runs this test.
func self(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// runit starts it, `down` shuts it down gracefully, and runsv keeps waiting.
func TestRunit(t *testing.T) {
	t.Parallel()
	runsv, sv := tool(t, "runsv"), tool(t, "sv")
	s := newSite(t)
	service := filepath.Join(t.TempDir(), "racecar")
	if err := os.CopyFS(service, os.DirFS(root+"runit/racecar")); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, harness.Command{Path: runsv, Args: []string{service}, Env: append(s.env, "APP_DIR="+s.dir, "APP_USER="+self(t))})
	s.echoed(p, "one")
	if out, err := exec.Command(sv, "-w", "30", "down", service).CombinedOutput(); err != nil || !strings.Contains(string(out), "down") {
		t.Errorf("sv down: %v: %s", err, out)
	}
	p.WaitLine(`"reason":"stop"`)
	if out, err := exec.Command(sv, "-w", "30", "exit", service).CombinedOutput(); err != nil {
		t.Errorf("sv exit: %v: %s", err, out)
	}
	if code := p.Wait(); code != 0 {
		t.Errorf("runsv ended with %d", code)
	}
}

// honcho runs the Procfile, as Foreman and Heroku do.
func TestProcfile(t *testing.T) {
	t.Parallel()
	honcho := tool(t, "honcho")
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(s.dir, "Procfile"), []byte(read(t, "Procfile")), 0o644); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, harness.Command{Path: honcho, Args: []string{"start", "--no-colour"}, Env: s.env, Dir: s.dir})
	s.echoed(p, "two")
	p.Signal(syscall.SIGTERM)
	p.WaitLine(`"reason":"stop"`)
	p.Wait() // with honcho's own code
	if !strings.Contains(p.Output(), "racecar.1") {
		t.Error("honcho ran nothing")
	}
}

// site is a folder with a program and its configuration.
type site struct {
	t      *testing.T
	broker *racecartest.Broker
	dir    string
	env    []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, broker: racecartest.NewBroker(t), dir: t.TempDir()}
	s.broker.Topic("words", 1)
	built, err := app()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.dir, os.DirFS(built)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("common:\n  brokers: %s\n  heartbeat_interval: 0.2\n  log_format: json\n", strings.Join(s.broker.Addrs(), ","))
	if err := os.WriteFile(filepath.Join(s.dir, "config", "racecar.yml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"RACECAR_CONTROL_SOCKET=" + filepath.Join(s.dir, "control.sock")}
	return s
}

// echoed sends a word and waits until the program has said it.
func (s *site) echoed(p *harness.Process, word string) {
	s.t.Helper()
	s.say(word)
	p.WaitLine(`"value":"` + word + `"`)
}

func (s *site) say(word string) {
	s.t.Helper()
	s.broker.Produce(racecar.ProducerMessage{Topic: "words", Value: []byte(word)})
}

// tool finds a program that other machines than CI's may lack.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%v: .ci/install-supervisors installs it", err)
	}
	return path
}
