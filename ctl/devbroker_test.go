package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/devkafka"
)

// TestProduceBesideDev: what is typed in a module whose embedded broker runs goes
// there, unless something else is asked for.
func TestProduceBesideDev(t *testing.T) {
	module := t.TempDir()
	below := filepath.Join(module, "consumers")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte("module dance\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(module, devData)
	b, err := devkafka.Start(devkafka.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	newApp := func(environ ...string) (a *app, stdout, stderr *bytes.Buffer) {
		stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
		return &app{in: strings.NewReader(""), out: stdout, err: stderr, now: time.Now, environ: environ}, stdout, stderr
	}
	a, out, errs := newApp()
	code := a.run(t.Context(), []string{"produce", "-t", "steps", "-v", "hello"})
	note := "=> The broker is the embedded one at " + b.Addr() + " (tmp/racecar-dev)\n=> Delivered message to Kafka cluster\n"
	if out.String() != "" || errs.String() != note || code != 0 {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
	for _, elsewhere := range []struct {
		environ []string
		options config.Options
	}{
		{environ: []string{"RACECAR_BROKERS=kafka"}},
		{environ: []string{"RACECAR_ENV=production"}},
		{environ: []string{"RACECAR_CONFIG=other.yml"}},
		{options: config.Options{FileGiven: true}},
		{options: config.Options{Flags: map[string]config.Flag{"brokers": {Text: "kafka"}}}},
	} {
		a, _, errs := newApp(elsewhere.environ...)
		o := elsewhere.options
		a.useDevBroker(&o)
		if o.DevBroker != "" || errs.Len() > 0 {
			t.Errorf("%v leads to %s: %s", elsewhere, o.DevBroker, errs)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if addr := devBroker(below); addr != "" {
		t.Errorf("%s is given although nobody serves the directory", addr)
	}
}

// An embedded broker whose data belong to another user is not taken for ours.
func TestForeignDevBroker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; .ci/run is root")
	}
	module := t.TempDir()
	data := filepath.Join(module, devData)
	b, err := devkafka.Start(devkafka.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if got := devBroker(module); got != b.Addr() {
		t.Fatalf("%q", got)
	}
	if err := os.Chown(data, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if got := devBroker(module); got != "" {
		t.Errorf("racecarctl goes to another user's broker at %s", got)
	}
}

// A broker that is starting holds the lock and has not written its address yet. A message must
// not go to another broker meanwhile.
func TestBrokerThatIsStartingIsWaitedFor(t *testing.T) {
	module := t.TempDir()
	data := filepath.Join(module, devData)
	b, err := devkafka.Start(devkafka.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	address := filepath.Join(data, "address")
	if err := os.Truncate(address, 0); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() { found <- devBroker(module) }()
	select {
	case addr := <-found:
		t.Fatalf("the address is %q before it is written", addr)
	case <-time.After(50 * time.Millisecond):
	}
	if err := os.WriteFile(address, []byte(b.Addr()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if addr := <-found; addr != b.Addr() {
		t.Errorf("the address is %q, want %s", addr, b.Addr())
	}
}
