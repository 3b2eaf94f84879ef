package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// pageOf is where a process serves its status page.
func pageOf(p *harness.Process) string {
	line := p.WaitLine(`status page is served`)
	return "http://127.0.0.1:" + regexp.MustCompile(`:([0-9]+)"`).FindStringSubmatch(line)[1]
}

// client keeps no connection: the tests look for what is left.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

// ask makes a request and returns status code and body.
func ask(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// statusOf asks the page for what it shows.
func statusOf(t *testing.T, url, token string) status.Status {
	t.Helper()
	code, body := ask(t, "GET", url+"/v1/status", token, "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	var st status.Status
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// eventuallyAsk waits until a GET answers with that code.
func eventuallyAsk(t *testing.T, url string, want int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%d from %s", want, url), func() error {
		if code, body := ask(t, "GET", url, "", ""); code != want {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}

// Without a token one may look and do nothing; without a broker it is alive and
// not ready.
func TestStatusPageWithoutAToken(t *testing.T) {
	p := harness.Start(t, harness.Command{Role: "app", Env: []string{"JOURNAL_DIR=" + t.TempDir()}, Args: []string{
		"--brokers", "127.0.0.1:1", "--log-format", "text", "--status-addr", "127.0.0.1:0", "--parallel-workers", "2", "Journal",
	}})
	url := pageOf(p)
	p.WaitLine(`try 2/10`) // by either worker: the other one may still be starting
	eventuallyAsk(t, url+"/healthz", http.StatusOK)
	harness.Eventually(t, "both workers waiting in /readyz", func() error {
		code, body := ask(t, "GET", url+"/readyz", "", "")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "Journal[0] is waiting\n") || !strings.Contains(body, "Journal[1] is waiting\n") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := ask(t, "GET", url+"/", "", ""); code != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("/: %d %s", code, body)
	}
	harness.Eventually(t, "the states in /metrics", func() error { // an answer serves for a second
		code, body := ask(t, "GET", url+"/metrics", "", "")
		if code != http.StatusOK || !strings.Contains(body, `racecar_workers{consumer="Journal",group="journal",state="waiting"} 2`) {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if n := len(statusOf(t, url, "").Workers); n != 2 {
		t.Errorf("%d workers", n)
	}
	for _, action := range []string{"quiet", "scale", "restart", "pause", "stop"} {
		if code, body := ask(t, "POST", url+"/v1/"+action, "", `{}`); code != http.StatusForbidden && code != http.StatusNotFound && code != http.StatusMethodNotAllowed {
			t.Errorf("%s without a token: %d %s", action, code, body)
		}
	}

	other := harness.Start(t, harness.Command{Role: "app", Env: []string{"JOURNAL_DIR=" + t.TempDir()}, Args: []string{
		"--brokers", "127.0.0.1:1", "--log-format", "text", "--status-addr", strings.TrimPrefix(url, "http://"), "Journal",
	}})
	if code := other.Wait(); code != 1 || !strings.Contains(other.Stderr(), "=> Crashed: status_addr") || !strings.Contains(other.Stderr(), "address already in use") {
		t.Errorf("an address in use: exit %d\n%s", code, other.Stderr())
	}
	stop(t, p)
}

// With a token nothing is served without it but the bare page and health; actions act.
func TestStatusPageWithAToken(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	// On all interfaces: the token is what allows that.
	p := b.start([]string{"RACECAR_STATUS_TOKEN=open-sesame-0123456789"}, "--status-addr", "0.0.0.0:0", "Journal")
	url := pageOf(p)
	eventuallyAsk(t, url+"/readyz", http.StatusOK)
	for path, want := range map[string]int{"/": 200, "/metrics": 401, "/healthz": 200, "/v1/status": 401, "/v1/history": 401, "/v1/config": 401} {
		if code, body := ask(t, "GET", url+path, "", ""); code != want {
			t.Errorf("%s without the token: %d %s", path, code, body)
		}
	}
	for _, token := range []string{"", "wrong"} {
		if code, body := ask(t, "POST", url+"/v1/quiet", token, `{}`); code != http.StatusUnauthorized {
			t.Errorf("quiet with %q: %d %s", token, code, body)
		}
	}
	if code, body := ask(t, "GET", url+"/v1/config", "open-sesame-0123456789", ""); code != 200 || strings.Contains(body, "open-sesame-0123456789") || !strings.Contains(body, "--status-addr") {
		t.Errorf("/v1/config: %d %s", code, body)
	}
	if code, body := ask(t, "POST", url+"/v1/quiet", "open-sesame-0123456789", `{}`); code != http.StatusOK {
		t.Errorf("quiet: %d %s", code, body)
	}
	harness.Eventually(t, "the worker quiet", func() error {
		if s := statusOf(t, url, "open-sesame-0123456789").Workers[0].State; s != status.Quiet {
			return fmt.Errorf("%s", s)
		}
		return nil
	})
	if code, body := ask(t, "POST", url+"/v1/scale", "open-sesame-0123456789", `{"workers":3}`); code != http.StatusOK || strings.Contains(body, `"error"`) {
		t.Errorf("scale: %d %s", code, body)
	}
	if n := len(workers(p)); n != 3 {
		t.Errorf("%d workers after scale", n)
	}
	stop(t, p)
}

// The liveness file is touched while every worker is live, no longer while one of
// them is stuck, and gone after TERM.
func TestLivenessFile(t *testing.T) {
	b := newBed(t, 80)
	mischief := t.TempDir()
	file := filepath.Join(t.TempDir(), "alive")
	if err := os.WriteFile(file, nil, 0o644); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	env := []string{"RACECAR_LIVENESS_PROBE_FILE_PATH=" + file, "RACECAR_LIVENESS_PROBE_MAX_INTERVAL=1.5", "RACECAR_LIVENESS_PROBE_SKIP_CONFIG_FILES=true"}
	probe := func() (int, string) {
		var out, words strings.Builder
		for _, e := range env {
			name, value, _ := strings.Cut(e, "=")
			t.Setenv(name, value)
		}
		code := ctl.Main([]string{"liveness_probe"}, strings.NewReader(""), &out, &words)
		return code, words.String()
	}
	probed := func(want int, words string) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%d from the probe", want), func() error {
			if code, said := probe(); code != want || !strings.HasPrefix(said, words) {
				return fmt.Errorf("%d %s", code, said)
			}
			return nil
		})
	}
	p := b.start(append(env, "JOURNAL_MISCHIEF="+mischief), "--liveness-probe-enabled", "--parallel-workers", "2", "--max-poll-interval", "3", "Journal")
	b.awaitProcessed(80)
	probed(0, "")
	before := workers(p)

	if err := os.WriteFile(filepath.Join(mischief, "spin"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a worker that hangs", func() error {
		b.produce(8)
		if _, err := os.Stat(filepath.Join(mischief, "spin")); err == nil {
			return errCount(1) // nobody has taken it yet
		}
		return nil
	})
	probed(1, "Racecar healthcheck failed: No liveness within interval 1.5s. Last liveness at 2")
	p.WaitLine(`liveness file is not touched`)
	p.WaitLine(`liveness file is touched`) // the worker was replaced
	probed(0, "")
	b.awaitProcessed(b.total())
	same := 0
	for name, pid := range workers(p) {
		if before[name] == pid {
			same++
		}
	}
	if same != 1 {
		t.Errorf("%d of the workers go on, want 1", same)
	}
	stop(t, p)
	if code, words := probe(); code != 1 || words != fmt.Sprintf("Racecar healthcheck failed: Liveness file not found `%s`\n", file) {
		t.Errorf("after TERM: %d %s", code, words)
	}

	nowhere := harness.Start(t, harness.Command{Role: "app", Args: []string{
		"--brokers", "127.0.0.1:1", "--liveness-probe-enabled", "--liveness-probe-file-path", filepath.Join(file, "x"), "Journal",
	}, Env: []string{"JOURNAL_DIR=" + t.TempDir()}})
	if code := nowhere.Wait(); code != 1 || !strings.Contains(nowhere.Stderr(), "=> Crashed: liveness_probe_file_path must be set to a writable file path") {
		t.Errorf("a file that cannot be written: exit %d\n%s", code, nowhere.Stderr())
	}
}
