package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/test/harness"
)

// export writes the site's Procfile for another supervisor and returns where.
func (s *site) export(exporter, format string) string {
	s.t.Helper()
	command := tool(s.t, exporter)
	if err := os.WriteFile(filepath.Join(s.dir, "Procfile"), []byte(read(s.t, "Procfile")), 0o644); err != nil {
		s.t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		s.t.Fatal(err)
	}
	out := s.t.TempDir()
	c := exec.Command(command, "export", format, out, "--app", "site", "--user", me.Username, "--log", filepath.Join(s.dir, "log"))
	c.Dir = s.dir
	if text, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v: %s", c, err, text)
	}
	return out
}

// systemd understands Foreman's export, and its command is a supervisor: HUP starts a
// rolling restart and TERM a graceful shutdown. (With honcho's units a shell receives the
// TERM: deploy/README.md.)
func TestExportSystemd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := s.export("foreman", "systemd")
	service := filepath.Join(dir, "site-racecar.1.service")
	if analyze, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Logf("the units are not verified: %v", err)
	} else {
		verify := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "site.target"), service)
		if out, err := verify.CombinedOutput(); err != nil || regexp.MustCompile(`(?i)unknown|ignoring|invalid|fail`).Match(out) {
			t.Errorf("%s: %v: %s", verify, err, out)
		}
	}
	unit, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=(\S+) -lc '(.*)'$`).FindSubmatch(unit)
	if start == nil || !strings.Contains(string(unit), "WorkingDirectory="+s.dir+"\n") {
		t.Fatalf("a unit unlike what this test knows:\n%s", unit)
	}
	// Not as a login shell: what that reads is no concern of ours.
	p := harness.Start(t, harness.Command{Path: string(start[1]), Args: []string{"-c", string(start[2])}, Env: s.env, Dir: s.dir})
	s.echoed(p, "exported")
	s.deployed()
	p.Signal(syscall.SIGHUP)
	p.WaitLine(`"rolling restart is complete"`)
	s.echoed(p, "again")
	p.Signal(syscall.SIGTERM)
	p.WaitLine(`"reason":"stop"`)
	if code := p.Wait(); code != 0 {
		t.Errorf("ended with %d", code)
	}
	s.allCommitted(2)
}

// runit runs the export, including the log, and shuts it down gracefully.
func TestExportRunit(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("chpst -u in what is exported takes root")
	}
	runsv, sv := tool(t, "runsv"), tool(t, "sv")
	for _, exporter := range []string{"foreman", "honcho"} {
		t.Run(exporter, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			services, err := filepath.Glob(filepath.Join(s.export(exporter, "runit"), "*"))
			if err != nil || len(services) != 1 {
				t.Fatalf("services %q, %v", services, err)
			}
			p := harness.Start(t, harness.Command{Path: runsv, Args: services, Env: s.env})
			s.say("exported")
			log := filepath.Join(s.dir, "log", "racecar-1", "current")
			harness.Eventually(t, "the message's line", func() error { return inFile(log, `"value":"exported"`) })
			if out, err := exec.Command(sv, "-w", "35", "down", services[0]).CombinedOutput(); err != nil || !strings.Contains(string(out), "down") {
				t.Errorf("sv down: %v: %s", err, out)
			}
			harness.Eventually(t, "a stop in order", func() error { return inFile(log, `"reason":"stop"`) })
			s.allCommitted(1)
			if out, err := exec.Command(sv, "-w", "30", "exit", services[0]).CombinedOutput(); err != nil {
				t.Errorf("sv exit: %v: %s", err, out)
			}
			if code := p.Wait(); code != 0 {
				t.Errorf("runsv ended with %d", code)
			}
		})
	}
}

// deployed is what a new version of the program looks like: another file.
func (s *site) deployed() {
	s.t.Helper()
	program := filepath.Join(s.dir, "racecar")
	old, err := os.ReadFile(program)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(program+".new", old, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(program+".new", program); err != nil {
		s.t.Fatal(err)
	}
}

// inFile is an error while a text is not in a file.
func inFile(name, text string) error {
	data, err := os.ReadFile(name)
	if err == nil && !strings.Contains(string(data), text) {
		err = fmt.Errorf("%s is not in %s:\n%s", text, name, data)
	}
	return err
}

// allCommitted checks that n messages are done and the worker has left.
func (s *site) allCommitted(n int64) {
	s.t.Helper()
	if got := fmt.Sprint(s.broker.Committed("echo", "words")); got != fmt.Sprint(map[int32]int64{0: n}) {
		s.t.Errorf("committed %s", got)
	}
}
