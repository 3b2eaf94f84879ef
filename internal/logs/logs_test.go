package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
)

func open(t *testing.T, c config.Config) *Log {
	t.Helper()
	l, err := Open(&c, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestReopenLosesNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "racecar.log")
	l := open(t, config.Config{Logfile: path, LogFormat: "text"})

	const writers, lines = 4, 500
	var wg sync.WaitGroup
	halfway := make(chan struct{}, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range lines {
				if i == lines/2 {
					halfway <- struct{}{}
				}
				l.WithField("n", fmt.Sprintf("%d-%d", w, i)).Info("line")
			}
		})
	}
	<-halfway
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	l.Info("last")

	old, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(append(old, fresh...), []byte("msg=line")); got != writers*lines {
		t.Errorf("%d lines of %d", got, writers*lines)
	}
	if !bytes.Contains(fresh, []byte("msg=last")) {
		t.Error("the new file does not have the last line")
	}
}

func TestReopenKeepsTheOldFileWhenTheNameCannotBeOpened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, config.Config{Logfile: filepath.Join(dir, "a.log")})
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	l.Info("still here")
	if data, err := os.ReadFile(filepath.Join(dir+".gone", "a.log")); err != nil || !bytes.Contains(data, []byte("still here")) {
		t.Errorf("%q, %v", data, err)
	}
}

func TestBadSettingsNameTheChoices(t *testing.T) {
	for want, c := range map[string]config.Config{
		`log_level "loud": use debug, info, warn or error`: {LogLevel: "loud"},
		`log_format "xml": use auto, text or json`:         {LogFormat: "xml"},
		`logfile: open /nonexistent/x.log`:                 {Logfile: "/nonexistent/x.log"},
	} {
		if _, err := Open(&c, os.Stdout); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestConsumersSlogWritesThroughLogrus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "racecar.log")
	l := open(t, config.Config{Logfile: path, LogFormat: "json"})
	log := Slog(l.WithField("worker", "A[0]")).With("tenant", 7).WithGroup("http")
	log.Debug("hidden")
	log.Warn("slow", "status", 503, slog.Group("peer", "ip", "::1"))

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(data, &line); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	for k, want := range map[string]any{"msg": "slow", "level": "warning", "worker": "A[0]", "tenant": 7.0, "http.status": 503.0, "http.peer.ip": "::1"} {
		if line[k] != want {
			t.Errorf("%s = %v, want %v", k, line[k], want)
		}
	}
}

func TestUsersLoggerGetsEverything(t *testing.T) {
	var buf bytes.Buffer
	plain := logrus.New()
	plain.SetOutput(&buf)
	plain.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	for want, user := range map[string]any{
		"level=ERROR msg=broken a=1 b=2":            slog.New(slog.NewTextHandler(&buf, nil)),
		"level=error msg=broken a=1 b=2":            plain,
		"level=error msg=broken a=1 app=shop b=2\n": plain.WithField("app", "shop"),
	} {
		buf.Reset()
		l := open(t, config.Config{Logger: user, LogLevel: "warn"})
		l.Info("not at this level")
		l.WithFields(logrus.Fields{"b": 2, "a": 1}).Error("broken")
		if got := buf.String(); !strings.Contains(got, want) || strings.Contains(got, "not at") {
			t.Errorf("%T: got %q, want %q", user, got, want)
		}
	}
}

// A full disk loses lines, is reported once a minute and not once per line, and
// logging resumes when there is room again.
func TestFullDiskIsReportedOnceAMinute(t *testing.T) {
	var said bytes.Buffer
	f, err := openFile("/dev/full", &said)
	if err != nil {
		t.Skipf("no full device here: %v", err)
	}
	now := time.Unix(0, 0)
	f.now = func() time.Time { return now }
	for range 200 {
		if n, err := f.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		now = now.Add(time.Second)
	}
	f.path = filepath.Join(t.TempDir(), "racecar.log")
	if err := f.reopen(); err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte("there\n"))
	_, _ = f.Write([]byte("and on\n"))
	const full = "racecar: logfile: write /dev/full: no space left on device; lines are dropped until it can be written (%d so far)\n"
	want := fmt.Sprintf(full+full+full+full+"racecar: logfile: %s can be written again; 200 lines were dropped\n", 1, 61, 121, 181, f.path)
	if said.String() != want {
		t.Errorf("said\n%s\nwant\n%s", said.String(), want)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(f.path); err != nil || string(text) != "there\nand on\n" {
		t.Errorf("%q, %v", text, err)
	}
}

type keyOfCtx struct{}

// tracing is a handler of the user's that looks into ctx.
type tracing struct {
	slog.Handler
	seen *[]any
}

func (h tracing) Handle(ctx context.Context, r slog.Record) error {
	*h.seen = append(*h.seen, ctx.Value(keyOfCtx{}))
	return h.Handler.Handle(ctx, r)
}
func (h tracing) WithAttrs(a []slog.Attr) slog.Handler {
	return tracing{h.Handler.WithAttrs(a), h.seen}
}
func (h tracing) WithGroup(n string) slog.Handler { return tracing{h.Handler.WithGroup(n), h.seen} }

// A slog.Logger of the user's gets consumers' lines as they were given: ctx, source
// position, groups and levels of its own; log_level decides what gets there.
func TestUsersSlogIsHandedToConsumers(t *testing.T) {
	var b bytes.Buffer
	var seen []any
	user := slog.New(tracing{slog.NewJSONHandler(&b, &slog.HandlerOptions{AddSource: true, Level: slog.Level(-8)}), &seen})
	c := config.Default()
	c.Logger = user
	log, err := Open(&c, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), keyOfCtx{}, "span")
	l := Slog(log.WithField("worker", 1))
	l.WithGroup("g").Log(ctx, slog.LevelInfo+2, "notice", "k", 1)
	l.DebugContext(ctx, "not at info")
	var line struct {
		Level, Msg string
		Source     struct{ File string }
		Worker     int
		G          struct{ K int }
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, b.String())
	}
	if line.Level != "INFO+2" || line.Msg != "notice" || line.Worker != 1 || line.G.K != 1 || !strings.HasSuffix(line.Source.File, "logs_test.go") {
		t.Errorf("%s", b.String())
	}
	if len(seen) != 1 || seen[0] != "span" {
		t.Errorf("ctx: %v", seen)
	}

	// A logrus logger's hooks get ctx as well.
	hooked, hook := logtest.NewNullLogger()
	Slog(logrus.NewEntry(hooked)).InfoContext(ctx, "x")
	if e := hook.LastEntry(); e == nil || e.Context == nil || e.Context.Value(keyOfCtx{}) != "span" {
		t.Errorf("%v", hook.LastEntry())
	}
}

// A value that JSON cannot hold does not cost its line.
func TestValuesThatAreNoJSON(t *testing.T) {
	c := config.Default()
	c.LogFormat, c.Logfile = "json", filepath.Join(t.TempDir(), "log")
	log, err := Open(&c, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	log.WithFields(logrus.Fields{"nan": math.NaN(), "chan": make(chan int), "n": 1, "why": errors.New("e")}).Info("kept")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(c.Logfile)
	var line map[string]any
	if err != nil || json.Unmarshal(raw, &line) != nil || line["msg"] != "kept" || line["nan"] != "NaN" || line["n"] != 1.0 || line["why"] != "e" {
		t.Errorf("%v: %s", err, raw)
	}
}
