package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// serve runs a server in front of sup on a socket of its own.
func serve(t *testing.T, sup Supervisor) *Client {
	t.Helper()
	log, _ := logtest.NewNullLogger()
	ln, err := Listen(filepath.Join(t.TempDir(), "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(sup, log)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	c := NewClient(ln.Path())
	t.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(ln.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("socket left behind: %v", err)
		}
	})
	return c
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestCommandsReachTheSupervisor(t *testing.T) {
	sup := &fakeSupervisor{}
	c := serve(t, sup)
	ctx := deadline(t)
	none := func(Progress) {}
	for _, do := range []func() error{
		func() error {
			return c.Stop(ctx, StopOptions{Timeout: 3 * time.Second, Force: true, Leave: true}, none)
		},
		func() error { return c.Restart(ctx, "A", none) },
		func() error { return c.RestartWith(ctx, RestartOptions{NewGroup: true}, none) },
		func() error { return c.Scale(ctx, "", 7, none) },
		func() error { return c.Pause(ctx, "A", "greetings", 0) },
		func() error { return c.Pause(ctx, "", "greetings", wholeTopic) },
		func() error { return c.Resume(ctx, "A", "greetings", 3) },
		func() error { return c.Quiet(ctx, "") },
		func() error { return c.Continue(ctx, "A") },
		func() error { return c.SetLogLevel(ctx, "debug") },
		func() error { return c.Dump(ctx) },
	} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"stop 3s force=true leave=true", "restart A", "restart  to a new group", "scale 7", "pause greetings/0 A", "pause greetings/-1",
		"resume greetings/3 A", "quiet", "continue A", "log-level debug", "dump",
	}
	if got := sup.received(); !slices.Equal(got, want) {
		t.Errorf("asked\n%q, want\n%q", got, want)
	}
}

// As of signals, the log says of each order that it came, and from which process.
func TestCommandsAreLogged(t *testing.T) {
	ln, err := Listen(filepath.Join(t.TempDir(), "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	log, hook := logtest.NewNullLogger()
	srv := NewServer(&fakeSupervisor{}, log)
	go func() { _ = srv.Serve(ln) }() // what it says is another test's
	defer srv.Shutdown(deadline(t))   //nolint:errcheck // likewise
	c := NewClient(ln.Path())
	defer c.Close()
	if _, err := c.Status(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Quiet(deadline(t), "A"); err != nil {
		t.Fatal(err)
	}
	if n := len(hook.AllEntries()); n != 1 {
		t.Fatalf("%d entries, one of them for the status?", n)
	}
	e := hook.LastEntry()
	by := fmt.Sprintf("PID %d", os.Getpid())
	if runtime.GOOS != "linux" {
		by = e.Data["by"].(string) // the kernel is not asked
	}
	if e.Message != "order received" || e.Data["order"] != "quiet" || e.Data["by"] != by {
		t.Errorf("%s %v, want %s", e.Message, e.Data, by)
	}
}

func TestStatusAndConfig(t *testing.T) {
	sup := &fakeSupervisor{
		st:     status.Status{Version: 1, PID: 77, Workers: []status.Worker{{Consumer: "A", State: status.Running}}},
		config: []ConsumerConfig{{Consumer: "A", Keys: []config.Setting{{Key: "brokers", Value: "k1:9092", Source: "default", Written: "k1"}}}},
	}
	c := serve(t, sup)
	st, err := c.Status(deadline(t))
	if err != nil || st.PID != 77 || len(st.Workers) != 1 || st.Workers[0].Name() != "A[0]" {
		t.Errorf("status = %+v, %v", st, err)
	}
	cc, err := c.Config(deadline(t))
	if err != nil || len(cc) != 1 || cc[0].Keys[0] != (config.Setting{Key: "brokers", Value: "k1:9092", Source: "default", Written: "k1"}) {
		t.Errorf("config = %+v, %v", cc, err)
	}
	pid, err := c.PID(deadline(t))
	if err != nil || pid != os.Getpid() {
		t.Errorf("pid of the listener = %d, %v; want our own", pid, err)
	}
}

func TestProgressIsOrderedAndTheErrorComesLast(t *testing.T) {
	sup := &fakeSupervisor{
		steps: []Progress{{Worker: "A[0]", State: status.Stopping, Done: 0, Total: 2}, {Worker: "A[0]", State: status.Running, Done: 1, Total: 2}},
		err:   errors.New("A[1] does not come up: no such topic"),
	}
	c := serve(t, sup)
	var got []Progress
	err := c.Restart(deadline(t), "", func(p Progress) { got = append(got, p) })
	if !slices.Equal(got, sup.steps) {
		t.Errorf("progress %+v, want %+v", got, sup.steps)
	}
	if err == nil || err.Error() != sup.err.Error() {
		t.Errorf("error %v, want %v", err, sup.err)
	}
	sup.steps = nil
	if err = c.Restart(deadline(t), "", func(Progress) {}); err == nil || err.Error() != sup.err.Error() {
		t.Errorf("without progress: error %v, want %v", err, sup.err)
	}
}

// Who hangs up is not served any longer, so that nothing waits for it.
func TestDisconnectEndsTheWait(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	sup := &fakeSupervisor{steps: []Progress{{Worker: "A[0]"}}, during: func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
		close(ended)
	}}
	c := serve(t, sup)
	ctx, cancel := context.WithCancel(deadline(t))
	asked := make(chan error, 1)
	go func() { asked <- c.Restart(ctx, "", func(Progress) {}) }()
	<-begun
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("client's error %v, want cancelled", err)
	}
	select {
	case <-ended:
	case <-deadline(t).Done():
		t.Error("the server still waits for the operation")
	}
}

// However many wait for a longer operation, there is room for a status.
func TestWaitingOperationsDoNotBlockStatus(t *testing.T) {
	release := make(chan struct{})
	sup := &fakeSupervisor{st: status.Status{PID: 1}, during: func(context.Context) { <-release }}
	c := serve(t, sup)
	const asking = maxLong + 20
	answers := make(chan error, asking)
	for range asking {
		go func() { answers <- c.Scale(deadline(t), "", 1, func(Progress) {}) }()
	}
	for range asking - maxLong {
		if err := <-answers; err == nil || err.Error() != errBusy.Error() {
			t.Errorf("beyond the limit: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		t.Error(err)
	}
	close(release)
	for range maxLong {
		if err := <-answers; err != nil {
			t.Errorf("within the limit: %v", err)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	for _, test := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"unknown path", "POST", "/v1/explode", "", 404, "no such command: POST /v1/explode"},
		{"other version", "GET", "/v9/status", "", 404, "no such command: GET /v9/status"},
		{"wrong method", "GET", "/v1/stop", "", 404, "no such command"},
		{"junk", "POST", "/v1/scale", "\x00\xff{]", 400, "request: invalid character"},
		{"unknown field", "POST", "/v1/stop", `{"gently":true}`, 400, `unknown field \"gently\"`},
		{"two values", "POST", "/v1/scale", `{"workers":1}{"workers":2}`, 400, "more than one JSON value"},
		{"wrong type", "POST", "/v1/scale", `{"workers":"many"}`, 400, "cannot unmarshal string"},
		{"no number", "POST", "/v1/scale", `{"consumer":"A"}`, 400, "no number of workers"},
		{"negative timeout", "POST", "/v1/stop", `{"timeout":-1}`, 400, "timeout is negative"},
		{"no topic", "POST", "/v1/pause", "", 400, "no topic"},
		{"negative partition", "POST", "/v1/pause", `{"topic":"t","partition":-1}`, 400, "must not be negative"},
		{"log level", "POST", "/v1/log-level", `{"level":"loud"}`, 400, `log level \"loud\"`},
		{"too long", "POST", "/v1/pause", `{"topic":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sup := &fakeSupervisor{}
			log, _ := logtest.NewNullLogger()
			w := httptest.NewRecorder()
			r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
			NewServer(sup, log).Handler().ServeHTTP(w, r)
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %s, want %d with %q", w.Code, w.Body, test.code, test.want)
			}
			if got := sup.received(); len(got) > 0 {
				t.Errorf("it reached the supervisor: %q", got)
			}
		})
	}
}

func TestPanicIsRecoveredAndLogged(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	var calm atomic.Bool
	sup := &fakeSupervisor{during: func(context.Context) {
		if !calm.Load() {
			panic("oops")
		}
	}}
	ln, err := Listen(filepath.Join(t.TempDir(), "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(sup, log)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	c := NewClient(ln.Path())
	defer c.Close()
	if err := c.Restart(deadline(t), "", func(Progress) {}); err == nil {
		t.Error("no error for the asker")
	}
	calm.Store(true)
	if err := c.Restart(deadline(t), "", func(Progress) {}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	if err := srv.Shutdown(deadline(t)); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool { return e.Level == logrus.ErrorLevel && e.Data["panic"] == "oops" }) {
		t.Errorf("log: %+v", hook.AllEntries())
	}
}

func TestGarbageOnTheSocket(t *testing.T) {
	sup := &fakeSupervisor{st: status.Status{PID: 1}}
	c := serve(t, sup)
	for name, junk := range map[string]string{
		"bytes":        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"no request":   strings.Repeat("A", 100) + "\r\n\r\n",
		"endless line": "GET /" + strings.Repeat("x", 1<<20),
		"big header":   "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"bad length":   "POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: banana\r\n\r\n",
		"smuggled":     "POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzzz",
		"cut off":      "POST /v1/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"workers\":",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", c.Socket())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
			_, _ = conn.Write([]byte(junk)) // it may hang up in the middle
			_ = conn.(*net.UnixConn).CloseWrite()
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the server neither answers nor hangs up")
			}
			if _, err := c.Status(deadline(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	if got := sup.received(); len(got) > 0 {
		t.Errorf("garbage reached the supervisor: %q", got)
	}
}

func TestClientErrors(t *testing.T) {
	dir := t.TempDir()
	answers := func(t *testing.T, body string) *Client {
		ln, err := Listen(filepath.Join(t.TempDir(), "s.sock"))
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, body)
		})}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
		return NewClient(ln.Path())
	}
	t.Run("nobody", func(t *testing.T) {
		_, err := NewClient(filepath.Join(dir, "none.sock")).Status(deadline(t))
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("%v", err)
		}
	})
	t.Run("hung up in the middle", func(t *testing.T) {
		err := answers(t, `{"worker":"A[0]"}`+"\n").Restart(deadline(t), "", func(Progress) {})
		if !errors.Is(err, errHungUp) {
			t.Errorf("%v", err)
		}
	})
	t.Run("junk", func(t *testing.T) {
		if _, err := answers(t, "<html>").Status(deadline(t)); err == nil || !strings.Contains(err.Error(), "answer to /v1/status") {
			t.Errorf("%v", err)
		}
	})
}

func FuzzRequests(f *testing.F) {
	for _, path := range []string{"stop", "restart", "scale", "pause", "resume", "quiet", "log-level", "dump", ""} {
		f.Add(path, []byte(`{"consumer":"A","workers":3,"topic":"t","partition":1,"level":"info"}`))
		f.Add(path, []byte(nil))
	}
	f.Add("scale", []byte(`{"workers":3}`))
	f.Add("pause", []byte(`{"topic":"t","partition":2147483648}`))
	log, _ := logtest.NewNullLogger()
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		sup := &fakeSupervisor{}
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		r.URL.Path = "/v1/" + path
		w := httptest.NewRecorder()
		NewServer(sup, log).Handler().ServeHTTP(w, r)
		// Invariant: it is either done or an error.
		done := w.Code == http.StatusOK
		if done != (len(sup.received()) > 0) && path != "dump" {
			t.Fatalf("%d %q, yet the supervisor received %q", w.Code, w.Body, sup.received())
		}
	})
}

func FuzzParsePartition(f *testing.F) {
	for _, s := range []string{"t", "t/0", "t/-1", "/", "t/", "t/1/2", "t/99999999999", "t/+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		topic, p, err := parsePartition(s)
		if err == nil && (topic == "" || strings.Contains(topic, "/") || p < wholeTopic) {
			t.Fatalf("%q: %q %d", s, topic, p)
		}
	})
}
