package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// The scripts in testdata run the real main against a stand-in for a supervisor.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"racecarctl": func() { os.Exit(scriptApp().run(context.Background(), os.Args[1:])) },
		"fakesup":    fakesup,
	})
}

// scriptApp is racecarctl with a clock and a runtime folder of the script's own.
func scriptApp() *app {
	return &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), now: func() time.Time { return scriptNow },
		runtime: scriptRuntime(),
	}
}

func scriptRuntime() Runtime { return Runtime{Dirs: []string{os.Getenv("CTL_TEST_RUNTIME")}} }

var scriptNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CTL_TEST_RUNTIME", filepath.Join(e.WorkDir, "run"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each process under -race takes a second to exit
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"waitfor": waitfor,
			"wide":    wide,
			"kafka":   embeddedKafka,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// embeddedKafka starts a broker with these topics and names it in the environment.
func embeddedKafka(ts *testscript.TestScript, _ bool, topics []string) {
	b, err := devkafka.Start(devkafka.Options{NoTopicsOnDemand: true})
	ts.Check(err)
	ts.Defer(func() { _ = b.Close() })
	for _, topic := range topics {
		ts.Check(b.CreateTopic(topic, 1))
	}
	ts.Setenv("RACECAR_BROKERS", b.Addr())
}

// waitfor FILE… waits until they exist.
func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		deadline := time.Now().Add(10 * time.Second)
		for {
			_, err := os.Lstat(ts.MkAbs(arg))
			if (err == nil) != neg {
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s: %v after 10 s", arg, err)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

// wide N checks that no line of stdout is wider than N cells.
func wide(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, line := range strings.Split(ts.ReadFile("stdout"), "\n") {
		if len([]rune(line)) > n {
			ts.Fatalf("%d cells: %q", len([]rune(line)), line)
		}
	}
}

// fakesup holds a pidfile and answers a socket until it is stopped. Once it is
// ready it makes the file named by -ready. What it was asked it appends to
// asked.log.
func fakesup() {
	pidfile := flag.String("pidfile", "", "")
	socket := flag.String("socket", "", "")
	dir := flag.String("dir", absolute("."), "")
	noSocket := flag.Bool("no-socket", false, "")
	statusFile := flag.String("status", "", "")
	ready := flag.String("ready", "", "")
	fail := flag.String("fail", "", "")
	deaf := flag.Bool("deaf", false, "") // ignores TERM and stop
	flag.Parse()

	sup := &scriptSupervisor{fakeSupervisor: &fakeSupervisor{}, stop: make(chan struct{}), deaf: *deaf}
	if *fail != "" {
		sup.err = errors.New(*fail)
	}
	sup.steps = []Progress{{Worker: "A[0]", State: status.Stopping, Total: 2}, {Worker: "A[0]", Message: "restarting: 1 of 2"}, {Worker: "A[0]", State: status.Running, Done: 1, Total: 2, Message: "pid 124"}}
	sup.config = []ConsumerConfig{
		{Consumer: "A", Keys: []config.Setting{
			{Key: "brokers", Value: []string{"k1:9092", "k2:9092"}, Source: "RACECAR_BROKERS", Written: `["k1:9092", "k2:9092"]`},
			{Key: "sasl_password", Value: "[hidden]", Source: "config/racecar.yml:12", Written: `"[hidden]"`},
		}},
	}
	sup.st = status.Status{
		Version: 1, PID: os.Getpid(), Pidfile: absolute(*pidfile), Dir: *dir, State: status.Running, StartedAt: scriptNow.Add(-time.Hour),
		Consumers: []status.Consumer{{Name: "A", Group: "a", Workers: 1, State: status.Running}},
		Workers:   []status.Worker{{Consumer: "A", State: status.Running, Group: "a"}},
	}
	if *statusFile != "" {
		raw, err := os.ReadFile(*statusFile)
		check(err)
		sup.st = status.Status{}
		check(json.Unmarshal(raw, &sup.st))
	}
	if *pidfile != "" {
		f, err := os.OpenFile(*pidfile, os.O_RDWR|os.O_CREATE, 0o644)
		check(err)
		check(unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}))
		_, err = fmt.Fprintln(f, os.Getpid())
		check(err)
		defer func() { _ = errors.Join(os.Remove(*pidfile), f.Close()) }() // f has the lock: collected, it would be lost
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if !*noSocket {
		defer sup.serve(absolute(*socket))()
	}
	check(os.WriteFile(*ready, nil, 0o600))
	for {
		select {
		case <-term:
			_ = sup.note("TERM")
			if *deaf {
				continue
			}
		case <-sup.stop:
		case <-time.After(30 * time.Second): // a script that failed
		}
		break
	}
	check(os.WriteFile("asked.log", []byte(strings.Join(sup.received(), "\n")+"\n"), 0o600))
}

type scriptSupervisor struct {
	*fakeSupervisor
	stop chan struct{}
	deaf bool
}

func (s *scriptSupervisor) serve(socket string) (end func()) {
	var ln *Listener
	var err error
	if socket == "" {
		ln, err = scriptRuntime().Listen()
	} else if ln, err = Listen(socket); err == nil {
		_, err = scriptRuntime().Announce(socket)
	}
	check(err)
	log := logrus.New()
	srv := NewServer(s, log)
	go func() { check(srv.Serve(ln)) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}
}

func (s *scriptSupervisor) Stop(ctx context.Context, o StopOptions, progress func(Progress)) error {
	err := s.fakeSupervisor.Stop(ctx, o, progress)
	if !s.deaf {
		close(s.stop)
	}
	return err
}

func absolute(path string) string {
	if path == "" {
		return ""
	}
	abs, err := filepath.Abs(path)
	check(err)
	return abs
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakesup:", err)
		os.Exit(1)
	}
}
