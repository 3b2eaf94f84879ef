//go:build linux

package supervisor

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// patience bounds every wait of the tests; nothing takes nearly as long.
const patience = 30 * time.Second

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

// runSupervisor starts a supervisor, and ends it with the test.
func runSupervisor(t *testing.T, consumers ...wire.Consumer) *rig {
	t.Helper()
	r := &rig{t: t, stderr: &buffer{}, log: &buffer{}, dir: t.TempDir(), sigs: make(chan os.Signal, 10), done: make(chan struct{})}
	for i := range consumers {
		consumers[i].Config.GroupID = filepath.Join(r.dir, "left-"+consumers[i].Name)
	}
	fds := openFDs(t)
	spawner, err := NewExec(ExecOptions{Program: os.Args[0], Stderr: r.stderr})
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
		r.wait()
		if t.Failed() {
			t.Logf("log:\n%s\nstderr:\n%s", r.log, r.stderr)
		}
		if z := zombies(); len(z) > 0 {
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

// wait waits for the end of Run.
func (r *rig) wait() (int, error) {
	r.t.Helper()
	select {
	case <-r.done:
		return r.code, r.err
	case <-time.After(patience):
		r.t.Fatalf("the supervisor did not end; log:\n%s", r.log)
		return 0, nil
	}
}

func (r *rig) status() status.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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
	by := time.Now().Add(patience)
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
	cmdline, err := os.ReadFile("/proc/" + itoa(st.Workers[1].PID) + "/cmdline")
	if err != nil || string(bytes.TrimRight(cmdline, "\x00")) != "racecar: A[1]" {
		t.Errorf("command line %q, %v", cmdline, err)
	}
	if st.Workers[0].Report == nil || st.Totals[status.CountBatches] != 9 {
		t.Errorf("status %+v", st)
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

// left is what was removed from a consumer's group.
func (r *rig) left(consumer string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, "left-"+consumer))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(b)
}

func TestKilledWorkerIsReplacedAtOnce(t *testing.T) {
	r := runSupervisor(t, testConsumer("A", "", 2))
	st := r.until("running", running(2))
	begun := time.Now()
	if err := syscall.Kill(st.Workers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st = r.until("replaced", func(now status.Status) bool {
		return running(2)(now) && now.Workers[0].PID != st.Workers[0].PID && now.Workers[1].PID == st.Workers[1].PID
	})
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
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
