package monitor

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, spoken to over a pipe (its DevTools protocol,
// messages ended by a zero byte).
type browser struct {
	t       *testing.T
	out     io.Writer
	session string

	mu      sync.Mutex
	id      int
	answers map[int]chan json.RawMessage
	console []string // errors and exceptions of the page
}

// findBrowser skips the test where there is none, unless TESTBED_CHROMIUM says
// that there must be, as .ci/run does.
func findBrowser(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser in -short")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("TESTBED_CHROMIUM") != "" {
		t.Fatal("no chromium here: .ci/install-chromium installs it")
	}
	t.Skip("no chromium here")
	return ""
}

// openBrowser starts it with an empty page of that size.
func openBrowser(t *testing.T, width, height int, dark bool) *browser {
	t.Helper()
	path := findBrowser(t)
	down, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, up, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile := t.TempDir()
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir="+profile, "--remote-debugging-pipe",
		fmt.Sprintf("--window-size=%d,%d", width, height), "about:blank")
	cmd.ExtraFiles = []*os.File{down, up} // 3 to read from, 4 to write to
	if err := cmd.Start(); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	_, _ = down.Close(), up.Close()
	b := &browser{t: t, out: toBrowser, answers: map[int]chan json.RawMessage{}}
	done := make(chan struct{})
	go func() { defer close(done); b.read(fromBrowser) }()
	t.Cleanup(func() {
		_ = b.send("", "Browser.close", nil) // it may be gone
		wait := make(chan error, 1)
		go func() { wait <- cmd.Wait() }()
		select {
		case <-wait: //nolint:errcheck // how it ended does not matter
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-wait //nolint:errcheck // how it ended does not matter
		}
		_, _ = toBrowser.Close(), fromBrowser.Close()
		<-done
	})
	var targets struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	b.call("", "Target.getTargets", nil, &targets)
	for _, target := range targets.TargetInfos {
		if target.Type == "page" {
			var attached struct{ SessionID string }
			b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
			b.session = attached.SessionID
		}
	}
	b.call(b.session, "Runtime.enable", nil, nil)
	b.call(b.session, "Log.enable", nil, nil)
	b.call(b.session, "Page.enable", nil, nil)
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.call(b.session, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	return b
}

func (b *browser) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		raw, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			Result json.RawMessage
			Error  json.RawMessage
		}
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		switch {
		case m.ID != 0:
			if c := b.answers[m.ID]; c != nil {
				delete(b.answers, m.ID)
				if m.Error != nil {
					m.Result = nil
				}
				c <- m.Result
			}
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded":
			b.console = append(b.console, string(m.Params))
		}
		b.mu.Unlock()
	}
}

func (b *browser) send(session, method string, params any) chan json.RawMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	c := make(chan json.RawMessage, 1)
	b.answers[b.id] = c
	m := map[string]any{"id": b.id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if session != "" {
		m["sessionId"] = session
	}
	raw, _ := json.Marshal(m)
	_, _ = b.out.Write(append(raw, 0)) // no answer is the error
	return c
}

func (b *browser) call(session, method string, params, into any) {
	b.t.Helper()
	select {
	case raw := <-b.send(session, method, params):
		if raw == nil {
			b.t.Fatalf("chromium refuses %s", method)
		}
		if into != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(30 * time.Second):
		b.t.Fatalf("chromium does not answer %s", method)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call(b.session, "Page.navigate", map[string]any{"url": url}, nil)
	b.until(fmt.Sprintf("location.href.startsWith(%q) && document.readyState === 'complete'", url))
}

// eval returns the value of an expression, which may be a promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	var r struct {
		Result           struct{ Value T }
		ExceptionDetails json.RawMessage
	}
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	return r.Result.Value
}

// until waits for an expression to become true.
func (b *browser) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !eval[bool](b, "!!("+expression+")") {
		if time.Now().After(deadline) {
			b.t.Fatalf("after 20 s it is not so: %s\nconsole: %s\ntext: %s", expression, b.console, eval[string](b, "document.body.innerText.slice(0, 2000)"))
		}
		<-time.After(20 * time.Millisecond)
	}
}

// press sends a key as a keyboard does: "Enter", "ArrowDown", "j", "/".
func (b *browser) press(keys ...string) {
	b.t.Helper()
	codes := map[string]int{"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36, "Tab": 9}
	for _, k := range keys {
		down := map[string]any{"type": "keyDown", "key": k}
		up := map[string]any{"type": "keyUp", "key": k}
		if code, special := codes[k]; special {
			down["windowsVirtualKeyCode"], up["windowsVirtualKeyCode"] = code, code
			if k == "Enter" {
				down["text"] = "\r"
			}
		} else {
			down["text"] = k
		}
		b.call(b.session, "Input.dispatchKeyEvent", down, nil)
		b.call(b.session, "Input.dispatchKeyEvent", up, nil)
	}
}

// work is the CPU time that the page's main thread has taken, in ms. It needs
// Performance.enable.
func (b *browser) work() float64 {
	b.t.Helper()
	var got struct {
		Metrics []struct {
			Name  string
			Value float64
		}
	}
	b.call(b.session, "Performance.getMetrics", nil, &got)
	for _, m := range got.Metrics {
		if m.Name == "TaskDuration" {
			return m.Value * 1000
		}
	}
	b.t.Fatal("the browser does not tell its CPU time")
	return 0
}

// screenshot keeps a picture in the folder that SCREENSHOTS names, for docs.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.call(b.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
