package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/seeds"
)

// control asks the supervisor at that socket.
type control struct {
	t *testing.T
	*ctl.Client
}

func newControl(t *testing.T, socket string) control {
	c := control{t, ctl.NewClient(socket)}
	t.Cleanup(c.Close)
	return c
}

// statusUntil waits for a status.
func (c control) statusUntil(what string, ok func(status.Status) error) status.Status {
	c.t.Helper()
	var st status.Status
	harness.Eventually(c.t, what, func() (err error) {
		if st, err = c.Status(c.t.Context()); err != nil {
			return err
		}
		return ok(st)
	})
	return st
}

func discard(ctl.Progress) {}

// allRunning asks for n workers at work.
func allRunning(n int) func(status.Status) error {
	return func(st status.Status) error {
		for _, w := range st.Workers {
			if w.State != status.Running {
				return fmt.Errorf("%s is %s", w.Name(), w.State)
			}
		}
		if len(st.Workers) != n {
			return fmt.Errorf("%d workers", len(st.Workers))
		}
		return nil
	}
}

func pids(st status.Status) string {
	var all []string
	for _, w := range st.Workers {
		all = append(all, fmt.Sprintf("%s=%d", w.Name(), w.PID))
	}
	return strings.Join(all, " ")
}

// generations of the workers' places.
func generations(st status.Status) string {
	var all []string
	for _, w := range st.Workers {
		for _, p := range w.Members {
			all = append(all, fmt.Sprintf("%s=%d", w.Name(), p.Generation))
		}
	}
	return strings.Join(all, " ")
}

// A thousand messages a second and three rolling restarts: nothing lost, nothing
// twice, no rebalance, and next to no message waits longer than a second. A minute
// by default, five in a soak.
func TestRollsUnderLoad(t *testing.T) {
	b := newBed(t, 0)
	b.broker.RealOnly()
	t.Parallel()
	length := time.Minute
	if os.Getenv(seeds.SoakVar) != "" {
		length = 5 * time.Minute
	}
	const rate, rolls = 1000, 3
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--parallel-workers", "3", "--control-socket", socket, "Journal")
	c := newControl(t, socket)
	before := c.statusUntil("three workers at work", allRunning(3))

	b.produce(rate) // the first messages pay for connections and a cold broker
	b.awaitProcessed(rate)
	s := b.stream(rate)
	began := time.Now()
	for i := range rolls {
		<-time.After(time.Until(began.Add(length * time.Duration(i+1) / (rolls + 1)))) // when it is time for the next one
		within(t, fmt.Sprintf("roll %d", i+1), 30*time.Second, func() {
			if err := c.Restart(t.Context(), "", discard); err != nil {
				t.Fatal(err)
			}
		})
	}
	<-time.After(time.Until(began.Add(length)))
	n := s.end()
	b.awaitProcessed(b.total())
	after := c.statusUntil("three workers at work", allRunning(3))
	stop(t, p)

	b.judge(b.evidence())
	if was, is := generations(before), generations(after); was == "" || was != is {
		t.Errorf("the group rebalanced: generations %s, then %s", was, is)
	}
	if was, is := before.Workers, after.Workers; was[0].PID == is[0].PID || was[1].PID == is[1].PID || was[2].PID == is[2].PID {
		t.Errorf("not all were replaced: %s, then %s", pids(before), pids(after))
	}
	all := s.delaysOf(b.records(), func(time.Time) bool { return true })
	delays := s.delays(b.records())
	of := len(delays)
	t.Logf("%d messages in %v with %d rolls: %.3f %% processed within 1 s of being produced; of the %d sent while the producer was not held up %.3f %%: median %v, 99.8 %% within %v, longest %v",
		n, length, rolls, 100*share(all, time.Second), of, 100*share(delays, time.Second), delays[of/2].Round(100*time.Microsecond), delays[of*998/1000].Round(time.Millisecond), delays[of-1].Round(time.Millisecond))
	if n < rate*int(length.Seconds())*98/100 || of < n/2 {
		t.Errorf("only %d messages were produced in %v, %d of them while the producer was not held up", n, length, of)
	}
	if share(delays, time.Second) < 0.998 {
		t.Errorf("late were %s", s.late(b.records(), time.Second, began))
	}
}

// release writes a program that behaves as this one at path: a copy, and so that
// each differs from the one before, a few more bytes. It is put in place as
// deployments do it, by a rename.
func release(t *testing.T, path, version string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	putInPlace(t, path, io.MultiReader(in, strings.NewReader(version)))
}

func putInPlace(t *testing.T, path string, content io.Reader) {
	t.Helper()
	out, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, content); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holder asserts that the kernel names the supervisor as the pidfile's holder.
func holder(t *testing.T, file string, pid int, after string) {
	t.Helper()
	h, err := pidfile.Find(file)
	if err != nil {
		t.Errorf("after %s: %v", after, err)
		return
	}
	defer h.Close()
	if h.PID != pid {
		t.Errorf("after %s the pidfile is held by %d, not by %d", after, h.PID, pid)
	}
}

// While messages flow, releases and configurations that cannot work are refused
// or rolled back, and harm nobody; the next good one is rolled out, and a topic
// that is new in it is consumed. The pidfile is the supervisor's all the while.
func TestReleases(t *testing.T) {
	b := newBed(t, 0)
	t.Parallel()
	dir := t.TempDir()
	b.workdir, b.keeps = dir, []string{"app", "topics", "racecar.yml"}
	at := func(name string) string { return filepath.Join(dir, name) }
	app, topics, yml := at("app"), at("topics"), at("racecar.yml")
	mischief := t.TempDir()
	release(t, app, "1")
	writeFile(t, topics, b.topic)
	writeFile(t, yml, "development:\n  client_id: releases\n")
	b.program = app
	p := b.start([]string{"JOURNAL_TOPICS=@" + topics, "JOURNAL_MISCHIEF=" + mischief},
		"--config", yml, "--parallel-workers", "2", "--pidfile", at("d.pid"), "--worker-boot-timeout", "20", "Journal")
	c := newControl(t, at("d.sock"))
	before := c.statusUntil("two workers at work", allRunning(2))
	s := b.stream(200)

	restart := func() error { return c.Restart(t.Context(), "", discard) }
	held := func(after string) { t.Helper(); holder(t, at("d.pid"), p.Pid(), after) }
	held("status")
	if _, err := c.Config(t.Context()); err != nil {
		t.Error(err)
	}
	held("config")
	p.Signal(syscall.SIGHUP)
	p.WaitLine("nothing changed: workers go on")
	held("HUP")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	held("a roll")
	after := c.statusUntil("two workers at work", allRunning(2))
	if was, is := generations(before), generations(after); was != is || pids(before) == pids(after) {
		t.Errorf("before the roll: %s, generations %s; after it: %s, generations %s", pids(before), was, pids(after), is)
	}

	exe, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		name  string
		spoil func()
		want  string // in the refusal
		// replaces: the first worker has to be started again.
		replaces bool
	}{
		{"half-copied", func() { putInPlace(t, app, bytes.NewReader(exe[:len(exe)/2])) }, "copied completely", false},
		{"not a program", func() { putInPlace(t, app, strings.NewReader("half a copy")) }, "start " + app + ": exec format error: it is no program", false},
		{"a program that fails", func() {
			out, err := os.ReadFile("/bin/false")
			if err != nil {
				t.Skip(err)
			}
			putInPlace(t, app, bytes.NewReader(out))
		}, "exited with status 1", false},
		{"deleted", func() {
			if err := os.Remove(app); err != nil {
				t.Fatal(err)
			}
		}, "no such file or directory", false},
		{"configuration that is no YAML", func() { writeFile(t, yml, "development: {brokers: [unclosed\n") }, "racecar.yml:1", false},
		{"unknown key", func() { writeFile(t, yml, "development:\n  no_such_key: 1\n") }, "racecar.yml:2", false},
		{"crashes in its workers", func() { writeFile(t, filepath.Join(mischief, "boot"), "") }, "goes on with what ran before", true},
	} {
		was := c.statusUntil("two workers at work", allRunning(2))
		bad.spoil()
		if bad.replaces {
			// The old image is as broken as the new one here, since it obeys the same
			// file: take that away once the new one has failed.
			mark := p.Mark()
			failed := make(chan error, 1)
			go func() { failed <- restart() }()
			p.WaitLineAfter(mark, `msg="rolling restart was stopped"`)
			if err := os.Remove(filepath.Join(mischief, "boot")); err != nil {
				t.Fatal(err)
			}
			err = <-failed
		} else {
			err = restart()
		}
		if err == nil || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v\nwant one line with %q", bad.name, err, bad.want)
		} else {
			t.Logf("%s: %v", bad.name, err)
		}
		is := c.statusUntil("two workers at work", allRunning(2))
		if !bad.replaces && pids(was) != pids(is) || is.Workers[1].PID != was.Workers[1].PID {
			t.Errorf("%s: workers were touched: %s, then %s", bad.name, pids(was), pids(is))
		}
		writeFile(t, yml, "development:\n  client_id: releases\n")
		release(t, app, "1")
	}

	// The good one, by a HUP: another program, another Spec.
	second := b.broker.Topic(1)
	release(t, app, "2")
	writeFile(t, topics, b.topic+","+second)
	mark := p.Mark()
	p.Signal(syscall.SIGHUP)
	p.WaitLineAfter(mark, `rolling restart is complete`)
	held("a roll by HUP")
	b.broker.Produce(second, 0, "new")
	within(t, "the first message of the added topic after the roll", 10*time.Second, func() {
		harness.Eventually(t, "it consumed", func() error {
			for _, r := range b.records() {
				if r.Topic == second {
					return nil
				}
			}
			return fmt.Errorf("not yet")
		})
	})
	n := s.end()
	b.awaitProcessed(n + 1) // and the one
	stop(t, p)
	e := b.evidence()
	e.Produced[partitionOf(second)] = []int64{0}
	b.judge(e)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err == nil {
		t.Error("the control socket still answers")
	}
}
