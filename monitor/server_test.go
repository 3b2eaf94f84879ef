package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// serve runs a server until the test ends.
func serve(t *testing.T, o ServerOptions) *Server {
	t.Helper()
	if o.Log == nil {
		log, _ := logtest.NewNullLogger()
		o.Log = log
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	calm := func(context.Context) (status.Status, error) { return status.Status{State: status.Running}, nil }
	if o.Status == nil {
		o.Status = calm
	}
	if o.Brief == nil {
		o.Brief = o.Status
	}
	o.Control = http.NotFoundHandler()
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks on a connection of its own.
func get(t *testing.T, s *Server, path string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// Responses without a token consist of our own words, since an error text may hold a
// password.
func TestHealthShowsNoForeignText(t *testing.T) {
	const secret = "open postgres://app:hunter2@db"
	states := []status.Worker{
		{Consumer: "A", State: status.Backoff, LastExit: secret}, {Consumer: "A", Index: 1, State: status.Running, Detail: secret},
		{Consumer: "A", Index: 2, State: status.Waiting, Live: true, Detail: secret}, {Consumer: "A", Index: 3, State: status.Joining, Live: true, Detail: secret},
		{Consumer: "A", Index: 4, State: status.Starting, Detail: secret},
	}
	source := func(context.Context) (status.Status, error) {
		return status.Status{State: status.Running, Workers: states, Consumers: []status.Consumer{{Name: "A", State: status.Fatal, Reason: secret}}}, nil
	}
	s := serve(t, ServerOptions{Status: source, Token: "0123456789abcdef"})
	for path, want := range map[string][]string{
		"/healthz": {"A has stopped permanently", "A[0] crashed and waits to be restarted", "A[1] is stuck", "A[4] is stuck"},
		"/readyz":  {"A[2] is waiting", "A[3] is joining"},
	} {
		code, body, _ := get(t, s, path)
		if code != http.StatusServiceUnavailable || strings.Contains(body, "hunter2") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in %s", path, w, body)
			}
		}
	}
	gone := serve(t, ServerOptions{Token: "0123456789abcdef", Status: func(context.Context) (status.Status, error) { return status.Status{}, errors.New(secret) }})
	if _, body, _ := get(t, gone, "/healthz"); strings.Contains(body, "hunter2") {
		t.Error(body)
	}
}

// /metrics requires the token, unless it is public.
func TestMetricsRequireTheToken(t *testing.T) {
	const token = "0123456789abcdef"
	for _, public := range []bool{false, true} {
		s := serve(t, ServerOptions{Token: token, MetricsPublic: public})
		bare, _, _ := get(t, s, "/metrics")
		with, _, _ := get(t, s, "/metrics", "Authorization", "bearer "+token)
		if (bare == http.StatusOK) != public || with != http.StatusOK {
			t.Errorf("public %v: %d without the token, %d with it", public, bare, with)
		}
	}
	s := serve(t, ServerOptions{})
	if code, _, _ := get(t, s, "/metrics"); code != http.StatusOK {
		t.Errorf("no token: %d", code)
	}
}

// A proxy in front has its own name. Without a token a foreign name is refused, since DNS
// rebinding could have brought a foreign page here.
func TestNamesOfProxies(t *testing.T) {
	open := serve(t, ServerOptions{})
	if code, _, _ := get(t, open, "/healthz", "Host", "racecar.example.com"); code != http.StatusForbidden {
		t.Errorf("without a token: %d", code)
	}
	s := serve(t, ServerOptions{Token: "0123456789abcdef"})
	if code, _, _ := get(t, s, "/healthz", "Host", "racecar.example.com"); code != http.StatusOK {
		t.Errorf("with a token: %d", code)
	}
}

func TestTakesGzip(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip": true, "gzip;q=0": false, "gzip; q=0.0": false, "GZIP;q=0.5": true, "gzip;q=x": false, "identity": false, "br;q=1, gzip;q=0": false,
	} {
		if got := takesGzip(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// Idle connections, of one address or of many, do not keep a probe out.
func TestIdleConnections(t *testing.T) {
	s := serve(t, ServerOptions{Token: "0123456789abcdef"})
	var idle []net.Conn
	for i := range 300 {
		local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%8))}
		conn, err := (&net.Dialer{LocalAddr: local}).DialContext(t.Context(), "tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	for _, path := range []string{"/healthz", "/readyz", "/"} {
		if code, body, _ := get(t, s, path); code != http.StatusOK && path != "/readyz" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, conn := range idle {
		_ = conn.Close()
	}
	s.conns.mu.Lock()
	most := len(s.conns.all)
	s.conns.mu.Unlock()
	if most > maxConnections {
		t.Errorf("%d connections", most)
	}
}

// A busy connection is not closed for a new one.
func TestBusyConnectionsStay(t *testing.T) {
	asked, answer := make(chan bool, 1), make(chan bool)
	var once sync.Once
	s := serve(t, ServerOptions{Status: func(context.Context) (status.Status, error) {
		once.Do(func() { asked <- true; <-answer })
		return status.Status{State: status.Running}, nil
	}})
	busy, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	fmt.Fprintf(busy, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-asked
	var idle []net.Conn
	for range maxPerAddress + 10 {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	first := bufio.NewReader(idle[0])
	if _, err := first.ReadByte(); err == nil {
		t.Error("the longest idle connection was not closed")
	}
	close(answer)
	if resp, err := http.ReadResponse(bufio.NewReader(busy), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the busy one: %v, %v", resp, err)
	}
}

// After ten wrong tokens each further one is answered late, which is logged once a minute.
func TestGuesses(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	now := time.Now()
	var waited time.Duration
	g := newGuesses(log)
	g.now = func() time.Time { return now }
	g.wait = func(_ context.Context, d time.Duration) { waited += d }
	for range freeGuesses {
		g.failed(t.Context(), "10.0.0.1")
	}
	if waited != 0 || len(hook.AllEntries()) != 0 {
		t.Errorf("mistyping: waited %v, %d lines", waited, len(hook.AllEntries()))
	}
	for range 20 {
		g.failed(t.Context(), "10.0.0.1")
	}
	g.failed(t.Context(), "10.0.0.2")
	entries := hook.AllEntries()
	if waited != 20*guessCost || len(entries) != 1 || entries[0].Data["from"] != "10.0.0.1" || entries[0].Level != logrus.WarnLevel {
		t.Errorf("waited %v, %v", waited, entries)
	}
	now = now.Add(guessWindow)
	g.failed(t.Context(), "10.0.0.1")
	if waited != 20*guessCost {
		t.Error("a minute later the first one waits")
	}
	for i := range 5000 {
		g.failed(t.Context(), fmt.Sprint(i))
	}
	if len(g.from) > maxGuessers+1 {
		t.Errorf("%d addresses are kept", len(g.from))
	}
}

func TestUnixStatusAddr(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	// A socket that a dead process has left is replaced.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, ServerOptions{Addr: "unix:" + path})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://racecar/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%d", resp.StatusCode)
	}
	log, _ := logtest.NewNullLogger()
	if _, err := NewServer(ServerOptions{Addr: "unix:" + path, Log: log}); err == nil || !strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("%v", err)
	}
	// A mistyped path must not cost a file.
	file := filepath.Join(t.TempDir(), "racecar.yml")
	if err := os.WriteFile(file, []byte("common: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewServer(ServerOptions{Addr: "unix:" + file, Log: log}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "common: {}" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// Others can connect to the socket at no time, whatever the umask is.
func TestUnixSocketIsPrivateFromTheStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems set the mode after the socket exists")
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "status.sock")
	done, seen := make(chan struct{}), make(chan os.FileMode)
	go func() { // another user who checks all the time
		var worst os.FileMode
		for {
			select {
			case <-done:
				seen <- worst
				return
			default:
			}
			if info, err := os.Lstat(path); err == nil {
				worst |= info.Mode().Perm()
			}
		}
	}()
	for range 500 {
		ln, err := listenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if mode := <-seen; mode&0o077 != 0 {
		t.Errorf("it had mode %04o for a moment", mode)
	}
}

// A supervisor is ready in an outage, and says so, unless outage_not_ready tells it
// otherwise. It is live in any case.
func TestReadinessNamesOutages(t *testing.T) {
	source := func(notReady bool) func(context.Context) (status.Status, error) {
		return func(context.Context) (status.Status, error) {
			return status.Status{
				State: status.Running, Workers: []status.Worker{{Consumer: "A", State: status.Running, Live: true, Outages: []string{"db"}}},
				Consumers: []status.Consumer{{Name: "A", State: status.Running, Outages: []status.Outage{
					{Dependency: "db\nnot ready", NotReady: notReady, Error: "hunter2"}, {NotReady: notReady},
				}}},
			}, nil
		}
	}
	s, strict := serve(t, ServerOptions{Status: source(false)}), serve(t, ServerOptions{Status: source(true)})
	const named = "A: outage of db not ready\nA: outage\n"
	for _, c := range []struct {
		s          *Server
		path, want string
		code       int
	}{
		{s, "/healthz", "live\n", http.StatusOK},
		{s, "/readyz", "ready\n" + named, http.StatusOK},
		{strict, "/healthz", "live\n", http.StatusOK},
		{strict, "/readyz", "not ready\n" + named, http.StatusServiceUnavailable},
	} {
		if code, body, _ := get(t, c.s, c.path); code != c.code || body != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, body, c.code, c.want)
		}
	}
}
