//go:build linux

package supervisor

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/test/harness"
)

// standalone is a supervisor in a process of its own, so that it can be killed
// and stopped.
type standalone struct {
	t   *testing.T
	cmd *exec.Cmd
	log *buffer
}

// supervise starts one, from that binary, and waits until it is ready.
func supervise(t *testing.T, binary string, consumers ...wire.Consumer) *standalone {
	t.Helper()
	return superviseOn(t, nil, binary, consumers...)
}

// superviseOn starts one on a terminal; nil: on none.
func superviseOn(t *testing.T, tty *os.File, binary string, consumers ...wire.Consumer) *standalone {
	t.Helper()
	for i := range consumers {
		consumers[i].Config.GroupID = filepath.Join(t.TempDir(), "left")
	}
	plan, err := json.Marshal(wire.Plan{Consumers: consumers})
	if err != nil {
		t.Fatal(err)
	}
	s := &standalone{t: t, cmd: exec.Command(binary), log: &buffer{}}
	s.cmd.Env = append(os.Environ(), envSupervise+"="+string(plan), "GORACE=atexit_sleep_ms=0")
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if tty != nil {
		s.cmd.Stdin = tty
		s.cmd.SysProcAttr.Setctty = true
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		workers := s.workers()
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.awaitGone(workers, testTimeout)
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	ready := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line == "ready\n"
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("it did not become ready")
		}
	case <-time.After(testTimeout):
		t.Fatal("it does not become ready")
	}
	return s
}

// workers are the processes of workers, by name.
func (s *standalone) workers() map[string]int {
	list := map[string]int{}
	children, _ := filepath.Glob("/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/task/*/children")
	for _, file := range children {
		b, _ := os.ReadFile(file)
		for _, pid := range strings.Fields(string(b)) {
			title, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if name, ok := strings.CutPrefix(strings.TrimRight(string(title), "\x00"), "racecar: "); ok {
				list[name], _ = strconv.Atoi(pid)
			}
		}
	}
	return list
}

// awaitGone waits until none of the processes is there.
func (s *standalone) awaitGone(pids map[string]int, within time.Duration) {
	s.t.Helper()
	by := time.Now().Add(within)
	for name, pid := range pids {
		for syscall.Kill(pid, 0) == nil {
			if time.Now().After(by) {
				s.t.Errorf("%s is there after %v", name, within)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}

// await waits for a worker with another pid.
func (s *standalone) await(name string, not int) int {
	s.t.Helper()
	by := time.Now().Add(testTimeout)
	for {
		if pid := s.workers()[name]; pid != 0 && pid != not {
			return pid
		}
		if time.Now().After(by) {
			s.t.Fatalf("%s does not come back", name)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Workers exit with the supervisor, and so does one that was stopped: the kernel wakes it.
func TestNoWorkerOutlivesTheSupervisor(t *testing.T) {
	t.Parallel()
	s := supervise(t, os.Args[0], testConsumer("A", "", 3))
	workers := s.workers()
	if len(workers) != 3 {
		t.Fatalf("workers %v", workers)
	}
	if err := syscall.Kill(workers["A[1]"], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	s.awaitGone(workers, 10*time.Second)
}

func TestSupervisorThatWasStoppedReplacesNobody(t *testing.T) {
	t.Parallel()
	c := testConsumer("A", "", 2)
	c.Config.WorkerTimeout = 4 * time.Second
	s := supervise(t, os.Args[0], c)
	before := s.workers()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(5 * time.Second) // this time must not count
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for by := time.Now().Add(testTimeout); !strings.Contains(s.log.String(), "did not run for a while"); {
		if time.Now().After(by) {
			t.Fatal("it did not notice that it was stopped")
		}
		<-time.After(10 * time.Millisecond)
	}
	<-time.After(2 * fleet.ObserveEvery) // for a wrong judgement to show
	for name, pid := range s.workers() {
		if before[name] != pid {
			t.Errorf("%s was replaced", name)
		}
	}
}

func TestWorkersComeBackThoughTheProgramIsGone(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "program")
	if err := os.Link(os.Args[0], binary); err != nil {
		b, err := os.ReadFile(os.Args[0]) // another file system
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(binary, b, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := supervise(t, binary, testConsumer("A", "", 1))
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, []byte("half a copy"), 0o700); err != nil {
		t.Fatal(err)
	}
	pid := s.workers()["A[0]"]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.await("A[0]", pid)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Keys typed at the terminal, and its hang-up, reach the supervisor alone: a worker that
// receives a signal of its own would be reported dead.
func TestTerminal(t *testing.T) {
	t.Parallel()
	// Under nohup a HUP is ignored, by what is started here as well unless we listen.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hup) })
	for name, end := range map[string]func(keyboard *os.File) error{
		"Ctrl-C":         func(k *os.File) error { _, err := k.WriteString("\x03"); return err },
		"Ctrl-\\":        func(k *os.File) error { _, err := k.WriteString("\x1c"); return err },
		"Ctrl-Z, Ctrl-C": func(k *os.File) error { _, err := k.WriteString("\x1a\x03"); return err },
		"hung up":        func(k *os.File) error { return k.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keyboard, tty := harness.OpenTerminal(t)
			s := superviseOn(t, tty, os.Args[0], testConsumer("A", "", 2))
			_ = tty.Close()
			if err := end(keyboard); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.cmd.Wait() }()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(testTimeout):
				_ = s.cmd.Process.Kill()
				<-ended //nolint:errcheck // it was killed
				t.Fatal("it does not end")
			}
			if n := strings.Count(s.log.String(), "worker stopped"); n != 2 || strings.Contains(s.log.String(), "worker died") {
				t.Errorf("%d workers stopped gracefully", n)
			}
		})
	}
}
