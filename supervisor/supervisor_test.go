//go:build linux

package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// testTimeout bounds every wait of the tests; nothing takes nearly as long.
const testTimeout = 30 * time.Second

// rig is a supervisor with real processes.
type rig struct {
	t      *testing.T
	sup    *Supervisor
	stderr *buffer
	log    *buffer
	dir    string
	sigs   chan os.Signal
	code   int
	err    error
	done   chan struct{}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testConsumer is one whose workers do what the words say.
func testConsumer(name, words string, workers int) wire.Consumer {
	return wire.Consumer{Name: name, Digest: words, Config: config.Config{
		ClientID: words, ParallelWorkers: workers, Concurrency: 1,
		ShutdownTimeout: 5 * time.Second, WorkerBootTimeout: 20 * time.Second, WorkerTimeout: 15 * time.Second,
		MaxPollInterval: time.Minute, WorkerRestartLimit: 5, Membership: config.MembershipRun,
	}}
}

// runSupervisor starts a supervisor, and stops it with the test.
func runSupervisor(t *testing.T, consumers ...wire.Consumer) *rig {
	t.Helper()
	r := &rig{t: t, stderr: &buffer{}, log: &buffer{}, dir: t.TempDir(), sigs: make(chan os.Signal, 10), done: make(chan struct{})}
	for i := range consumers {
		consumers[i].Config.GroupID = filepath.Join(r.dir, "left-"+consumers[i].Name)
	}
	fds := openFDs(t)
	spawner, err := process.New(process.Options{
		Program: os.Args[0], Stderr: r.stderr,
		Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"), // a second for each process otherwise
	})
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.MultiWriter(r.log))
	log.SetLevel(logrus.DebugLevel)
	r.sup, err = New(Options{
		Plan: wire.Plan{Consumers: consumers}, Spawner: spawner, PlanArgv: []string{os.Args[0], filepath.Join(r.dir, "plan")},
		Nonce: "nonce", Log: log, Stderr: r.stderr, Signals: r.sigs,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		r.code, r.err = r.sup.Run(context.Background())
	}()
	t.Cleanup(func() {
		_ = r.sup.Stop(context.Background(), StopOptions{Force: true})
		_, _ = r.wait()
		if t.Failed() {
			t.Logf("log:\n%s\nstderr:\n%s", r.log, r.stderr)
		}
		if z := process.Zombies(); len(z) > 0 {
			t.Errorf("zombies left: %v", z)
		}
		if now := openFDs(t); now > fds {
			t.Errorf("%d file descriptors open, %d before", now, fds)
		}
	})
	return r
}

func openFDs(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// wait waits until Run returns.
func (r *rig) wait() (int, error) {
	r.t.Helper()
	select {
	case <-r.done:
		return r.code, r.err
	case <-time.After(testTimeout):
		r.t.Fatalf("the supervisor did not end; log:\n%s", r.log)
		return 0, nil
	}
}

func (r *rig) status() status.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	st, err := r.sup.Status(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// until waits for a status.
func (r *rig) until(what string, ok func(status.Status) bool) status.Status {
	r.t.Helper()
	by := time.Now().Add(testTimeout)
	for {
		st := r.status()
		if ok(st) {
			return st
		}
		if time.Now().After(by) {
			r.t.Fatalf("not %s: %+v", what, st)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.done:
			r.t.Fatalf("ended before %s: %d, %v", what, r.code, r.err)
		}
	}
}

func running(n int) func(status.Status) bool {
	return func(st status.Status) bool {
		if len(st.Workers) != n {
			return false
		}
		for _, w := range st.Workers {
			if w.State != status.Running {
				return false
			}
		}
		return true
	}
}

func TestWorkersRunAndStop(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 2), testConsumer("B", "", 1))
	st := r.until("running", running(3))
	if got := st.Workers[1].Name(); got != "A[1]" {
		t.Errorf("second worker is %s", got)
	}
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(st.Workers[1].PID) + "/cmdline")
	if err != nil || string(bytes.TrimRight(cmdline, "\x00")) != "racecar: A[1]" {
		t.Errorf("command line %q, %v", cmdline, err)
	}
	st = r.until("reported by all", func(st status.Status) bool { return st.Totals[status.CountBatches] == 9 })
	if st.Workers[0].Report == nil || st.PID != os.Getpid() || st.RSS == 0 || st.State != status.Running {
		t.Errorf("status %+v", st)
	}
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(st.Workers[0].PID) + "/environ")
	if err != nil || !strings.Contains(string(environ), "GOMAXPROCS="+strconv.Itoa(min(2, runtime.GOMAXPROCS(0)))) {
		t.Errorf("environment %q, %v", environ, err)
	}
	r.sigs <- syscall.SIGTERM
	if code, err := r.wait(); code != 0 || err != nil {
		t.Errorf("ended with %d, %v", code, err)
	}
	for _, w := range st.Workers {
		if err := syscall.Kill(w.PID, 0); err != syscall.ESRCH {
			t.Errorf("%s is still there: %v", w.Name(), err)
		}
	}
	if left := r.left("A"); left != "nonce-A-0\nnonce-A-1\n" {
		t.Errorf("removed from A's group: %q", left)
	}
}

// left are the members that were removed from a consumer's group.
func (r *rig) left(consumer string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, "left-"+consumer))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(b)
}

// replaced waits until the first worker has another pid and runs.
func (r *rig) replaced(st status.Status) status.Worker {
	r.t.Helper()
	was := st.Workers[0].PID
	return r.until("replaced", func(now status.Status) bool {
		w := now.Workers[0]
		return w.PID != was && w.PID != 0 && w.State == status.Running
	}).Workers[0]
}

func TestKilledWorkerIsReplacedAtOnce(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 2))
	st := r.until("running", running(2))
	if err := syscall.Kill(st.Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st = r.until("replaced", func(now status.Status) bool {
		return running(2)(now) && now.Workers[0].PID != st.Workers[0].PID && now.Workers[1].PID == st.Workers[1].PID
	})
	if w := st.Workers[0]; w.Restarts != 1 || !strings.Contains(w.LastExit, "killed by signal 9") {
		t.Errorf("%+v", w)
	}
}

func TestPermanentFailureEndsEverything(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "permanent", 2))
	code, err := r.wait()
	if code != 1 || err == nil || !strings.Contains(err.Error(), "bad credentials") {
		t.Errorf("ended with %d, %v", code, err)
	}
}

func TestPanicIsKeptAsTheReason(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "poison", 1))
	st := r.until("running in spite of the message", running(1))
	w := st.Workers[0]
	if w.Restarts != wire.PoisonedAfter || w.LastExit != "exited with status 2: panic: poison" || !strings.Contains(w.LastStderr, "panic: poison") {
		t.Errorf("%+v", w)
	}
	if n := strings.Count(r.stderr.String(), "panic: poison"); n != wire.PoisonedAfter {
		t.Errorf("stderr has %d panics", n)
	}
}

func TestStoppedWorkerIsReplaced(t *testing.T) {
	c := testConsumer("A", "", 1)
	c.Config.WorkerTimeout = 2 * time.Second
	r := runSupervisor(t, c)
	st := r.until("running", running(1))
	if err := syscall.Kill(st.Workers[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if w := r.replaced(st); !strings.Contains(w.LastExit, "stopped by a signal") {
		t.Errorf("%+v", w)
	}
}

func TestStuckWorkerLeavesItsStacks(t *testing.T) {
	c := testConsumer("A", "stuck", 1)
	c.Config.MaxPollInterval = time.Second
	r := runSupervisor(t, c)
	st := r.until("running", running(1))
	w := r.replaced(st)
	if !strings.Contains(w.LastExit, "handler stuck: topic/0 offset 7") || !strings.Contains(r.stderr.String(), "main_test.go") ||
		!strings.Contains(r.log.String(), "main_test.go") || len(w.LastStderr) > 8<<10 {
		t.Errorf("%+v", w)
	}
}

func TestProtocolViolationReplacesTheWorker(t *testing.T) {
	c := testConsumer("A", "garbage", 1)
	c.Config.WorkerRestartLimit = 1
	r := runSupervisor(t, c)
	if code, err := r.wait(); code != 1 || err == nil || !strings.Contains(err.Error(), "does not speak our protocol") {
		t.Errorf("%d, %v", code, err)
	}
}

func TestUnresponsiveWorkerIsKilled(t *testing.T) {
	c := testConsumer("A", "unresponsive", 1)
	c.Config.ShutdownTimeout = time.Second
	r := runSupervisor(t, c)
	r.until("running", running(1))
	r.sigs <- syscall.SIGINT
	if code, err := r.wait(); code != 1 || err == nil || !strings.Contains(err.Error(), "A[0]: killed: did not stop within 1s") {
		t.Errorf("%d, %v", code, err)
	}
	if got := r.left("A"); got != "nonce-A-0\n" {
		t.Errorf("left in the group: %q", got)
	}
}

// Processes that a worker has started exit with it.
func TestNoGrandchildOutlivesAWorker(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "child", 1))
	st := r.until("running", running(1))
	child := 0
	r.until("its child known", func(status.Status) bool {
		_, text, found := strings.Cut(r.stderr.String(), "child ")
		if text, _, ended := strings.Cut(text, "."); found && ended {
			child, _ = strconv.Atoi(text)
		}
		return child != 0
	})
	if err := syscall.Kill(st.Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.replaced(st)
	r.until("its child gone", func(status.Status) bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestSignals(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 1))
	r.until("running", running(1))
	r.sigs <- syscall.SIGTTIN
	r.until("scaled up", running(2))
	r.sigs <- syscall.SIGTSTP
	r.until("quiet", func(st status.Status) bool {
		return st.Workers[0].State == status.Quiet && st.Workers[1].State == status.Quiet && st.State == status.Quiet
	})
	r.sigs <- syscall.SIGTTOU
	r.until("scaled down", func(st status.Status) bool { return len(st.Workers) == 1 })
	r.sigs <- syscall.SIGTTOU // one is the least
	r.sigs <- syscall.SIGUSR2
	r.sigs <- syscall.SIGUSR1
	r.sigs <- syscall.SIGCONT
	r.until("running", running(1))
	r.sigs <- syscall.SIGQUIT
	if code, err := r.wait(); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
	for _, want := range []string{"stacks of the supervisor", "cannot have 0 workers", "signal is reserved"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestControl(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 1), testConsumer("B", "", 1))
	r.until("running", running(2))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	one := []wire.Partition{{Topic: "t", Partition: 3}}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"pause":         {r.sup.Pause(ctx, "A", one), ""},
		"resume":        {r.sup.Resume(ctx, "", one), ""},
		"skip a batch":  {r.sup.SkipBatch(ctx, "A", one), ""},
		"pause nobody":  {r.sup.Pause(ctx, "C", one), `no consumer "C"`},
		"scale":         {r.sup.Scale(ctx, "B", 2), ""},
		"scale which":   {r.sup.Scale(ctx, "", 2), "say which one"},
		"scale to none": {r.sup.Scale(ctx, "B", 0), "cannot have 0 workers"},
		"log level":     {r.sup.LogLevel(ctx, "debug"), ""},
		"bad level":     {r.sup.LogLevel(ctx, "loud"), "is not a log level"},
		"worker error":  {r.sup.LogLevel(ctx, "error"), "A[0]: no such level here"},
		"dump":          {r.sup.Dump(ctx), ""},
		"quiet":         {r.sup.Quiet(ctx, "A"), ""},
		"continue":      {r.sup.Continue(ctx, ""), ""},
		"pause topic":   {r.sup.Pause(ctx, "A", []wire.Partition{{Topic: "u", Partition: -1}}), ""},
		"resume part":   {r.sup.Resume(ctx, "A", []wire.Partition{{Topic: "u", Partition: 1}}), "topic u is paused as a whole"},
	} {
		if (c.err == nil) != (c.want == "") || c.err != nil && !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	if list, err := r.sup.Config(ctx); err != nil || len(list) != 2 || list[1].Name != "B" {
		t.Errorf("config: %v, %v", list, err)
	}
	steps, _ := r.sup.Subscribe()
	if err := r.sup.Stop(ctx, StopOptions{}); err != nil {
		t.Error(err)
	}
	_, _ = r.wait()
	seen := map[string]bool{}
	for p := range steps { // closed at the end
		seen[p.Worker+" "+p.Step] = true
	}
	if !seen["A[0] stopping"] || !seen["B[1] exited"] {
		t.Errorf("steps %v", seen)
	}
	if _, err := r.sup.Status(ctx); !errors.Is(err, ErrEnded) {
		t.Errorf("status after the end: %v", err)
	}
}

// setPlan writes the plan that the next check of the program finds.
func (r *rig) setPlan(p wire.Plan) {
	r.t.Helper()
	if p.Versions == (wire.Versions{}) {
		p.Versions = wire.Supported()
	}
	for i := range p.Consumers {
		p.Consumers[i].Config.GroupID = filepath.Join(r.dir, "left-"+p.Consumers[i].Name)
	}
	b, err := json.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "plan"), b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestRollingRestart(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 2))
	first := r.until("running", running(2))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := r.sup.Restart(ctx, RestartOptions{}); err == nil || !strings.Contains(err.Error(), "could not load the configuration: exited with status 1: open") {
		t.Errorf("without a plan: %v", err)
	}
	r.setPlan(wire.Plan{Error: "config/racecar.yml:3: unknown key"})
	if err := r.sup.Restart(ctx, RestartOptions{}); err == nil || err.Error() != "config/racecar.yml:3: unknown key" {
		t.Errorf("with a broken one: %v", err)
	}
	r.setPlan(wire.Plan{Versions: wire.Versions{Min: wire.MaxVersion + 1, Max: wire.MaxVersion + 2}, Consumers: []wire.Consumer{testConsumer("A", "", 2)}})
	if err := r.sup.Restart(ctx, RestartOptions{}); err == nil || !strings.Contains(err.Error(), "stop Racecar and start it again") {
		t.Errorf("with one of other versions of the protocol: %v", err)
	}
	if st := r.status(); st.Workers[0].PID != first.Workers[0].PID || st.Workers[1].PID != first.Workers[1].PID {
		t.Error("workers were touched")
	}
	r.setPlan(wire.Plan{Versions: wire.Versions{Min: wire.MinVersion, Max: wire.MaxVersion + 1}, Consumers: []wire.Consumer{testConsumer("A", "", 2)}})
	fds := openFDs(t)
	for range 3 {
		if err := r.sup.Restart(ctx, RestartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if now := openFDs(t); now > fds+1 { // one image differs from that of the start
		t.Errorf("%d file descriptors after three rolls, %d before", now, fds)
	}
	st := r.until("running", running(2))
	if st.Workers[0].PID == first.Workers[0].PID || st.Workers[1].PID == first.Workers[1].PID || st.Workers[1].Restarts != 3 {
		t.Errorf("not replaced: %+v", st.Workers)
	}
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{testConsumer("A", "crash", 2)}})
	if err := r.sup.Restart(ctx, RestartOptions{}); !errors.Is(err, fleet.ErrRolledBack) {
		t.Errorf("to one that crashes: %v", err)
	}
	now := r.until("running", running(2))
	if now.Workers[1].PID != st.Workers[1].PID {
		t.Error("the second one was touched")
	}
}

// A worker is removed at the end of a rollout and has to be killed: its member is removed
// although nothing else uses the old program any more.
func TestRemovedAtTheEndOfARollout(t *testing.T) {
	old, next := testConsumer("A", "unresponsive", 2), testConsumer("A", "", 2)
	old.Config.ShutdownTimeout, next.Config.ShutdownTimeout = time.Second, time.Second
	r := runSupervisor(t, old)
	r.until("running", running(2))
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{next}})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	rolled := make(chan error, 1)
	go func() { rolled <- r.sup.Restart(ctx, RestartOptions{}) }()
	r.until("stopping the second one", func(st status.Status) bool { return st.Workers[1].State == status.Stopping })
	if err := r.sup.Scale(ctx, "A", 1); err != nil {
		t.Fatal(err)
	}
	if err := <-rolled; err != nil {
		t.Error(err)
	}
	r.until("its member removed", func(st status.Status) bool { return running(1)(st) && strings.TrimSpace(r.left("A")) == "nonce-A-1" })
}

// A check of the new program that hangs is reported with its pid, and replaced by the
// next one, which serves both requests.
func TestCheckThatHangsIsReplaced(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 1))
	r.until("running", running(1))
	hang := func() {
		if err := os.WriteFile(filepath.Join(r.dir, "plan"), []byte("hang"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	steps, cancel := r.sup.Subscribe()
	defer cancel()
	ctx, over := context.WithTimeout(context.Background(), testTimeout)
	defer over()
	first, second := make(chan error, 1), make(chan error, 1)
	hang()
	go func() { first <- r.sup.Restart(ctx, RestartOptions{}) }()
	awaitProgress := func() {
		for step := range steps {
			if strings.HasPrefix(step.Detail, "pid ") && strings.Contains(step.Detail, " has been loading the program and its configuration for ") {
				return
			}
		}
	}
	awaitProgress()
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{testConsumer("A", "", 1)}})
	go func() { second <- r.sup.Restart(ctx, RestartOptions{Consumer: "A"}) }()
	for name, answer := range map[string]chan error{"first": first, "second": second} {
		if err := <-answer; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A HUP does not wait for a check that is slow.
	hang()
	go func() { first <- r.sup.Restart(ctx, RestartOptions{}) }()
	awaitProgress()
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{testConsumer("A", "other", 1)}})
	if err := r.sup.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Errorf("with a HUP: %v", err)
	}
	r.until("running", running(1))
}

func TestHangupRollsOutOnlyChanges(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 1), testConsumer("B", "", 1))
	first := r.until("running", running(2))
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{testConsumer("A", "", 1), testConsumer("B", "", 1)}})
	r.sigs <- syscall.SIGHUP
	r.until("looked at", func(status.Status) bool { return strings.Contains(r.log.String(), "nothing changed") })
	r.setPlan(wire.Plan{Consumers: []wire.Consumer{testConsumer("A", "", 1), testConsumer("B", "other", 1)}})
	r.sigs <- syscall.SIGHUP
	for range 5 {
		r.sigs <- syscall.SIGHUP // all of them count as one
	}
	st := r.until("replaced", func(st status.Status) bool { return running(2)(st) && st.Workers[1].PID != first.Workers[1].PID })
	r.until("looked at once more", func(status.Status) bool { return strings.Count(r.log.String(), "nothing changed") >= 2 })
	if st.Workers[0].PID != first.Workers[0].PID {
		t.Error("A did not change, and was replaced")
	}
}

// blocked is a writer that takes nothing.
type blocked struct{ until chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.until; return len(p), nil }

func TestFullStderrAndFullLogBlockNobody(t *testing.T) {
	t.Parallel()
	full := blocked{make(chan struct{})}
	spawner, err := process.New(process.Options{Stderr: full})
	if err != nil {
		t.Fatal(err)
	}
	unread := logrus.New()
	unread.SetOutput(full)
	log, err := logs.Open(&config.Config{Logger: unread}, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	log.Detach(0, nil)
	c := testConsumer("A", "chatty", 2)
	c.Config.Membership = config.MembershipHost
	sup, err := New(Options{Plan: wire.Plan{Consumers: []wire.Consumer{c}}, Spawner: spawner, Log: log, Stderr: full, PrintConfig: func(io.Writer, wire.Consumer) {}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sup: sup, stderr: &buffer{}, log: &buffer{}, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.code, r.err = sup.Run(context.Background())
	}()
	r.until("running", running(2))
	for range 3 { // the configuration is not printed, which is logged
		sup.requests <- sup.printConfig
	}
	if err := sup.Stop(context.Background(), StopOptions{}); err != nil {
		t.Error(err)
	}
	if code, err := r.wait(); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
	close(full.until)
}
