package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor"
	"github.com/racecar-go/racecar/supervisor/process"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/sirupsen/logrus"
)

// logged is a log to search.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// broker is one with messages for the consumer.
func broker(t *testing.T) string {
	t.Helper()
	b := testbroker.New(t)
	b.Embedded()
	b.CreateTopic(name, 2)
	b.Produce(name, 0, "a", "b", "c")
	return b.Addrs()[0]
}

// spawner starts this test's program, which is the consumer's there.
func spawner(t *testing.T, broker string) *process.OSSpawner {
	t.Helper()
	s, err := process.New(process.Options{
		Program: os.Args[0], Stderr: t.Output(),
		Env: append(os.Environ(), "RACECAR_BROKERS="+broker, "RACECAR_LOGFILE="+os.DevNull, "RACECAR_STATUS_ADDR=127.0.0.1:0", "GORACE=atexit_sleep_ms=0"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// argv is the command line of the start.
func argv() []string { return []string{os.Args[0], name} }

// run has a supervisor do all that it does with workers. All children come from the
// spawner. With outage they have one first, which ends. It returns the status before the end.
func run(t *testing.T, plan wire.Plan, s process.Spawner, outage bool, log *logged) status.Status {
	t.Helper()
	l := logrus.New()
	l.SetOutput(log)
	l.SetLevel(logrus.DebugLevel)
	signals := make(chan os.Signal, 1)
	sup, err := supervisor.New(supervisor.Options{
		Plan: plan, Spawner: s, PlanArgv: argv(), Nonce: name, Log: l, Stderr: t.Output(), Signals: signals,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		code, err := sup.Run(context.WithoutCancel(ctx))
		if code != 0 {
			err = errors.Join(fmt.Errorf("exit code %d", code), err)
		}
		ended <- err
	}()
	defer func() {
		if t.Failed() {
			t.Logf("log of the supervisor:\n%s", log)
		}
	}()
	var st status.Status
	running := func() {
		t.Helper()
		harness.Eventually(t, "running, with its members and work reported", func() error {
			if st, err = sup.Status(ctx); err != nil {
				return err
			}
			if w := st.Workers[0]; w.State != status.Running || w.Report == nil || len(w.Members) == 0 || st.Totals[status.CountMessages] == 0 {
				return fmt.Errorf("%+v, %v", w, st.Totals)
			}
			return nil
		})
	}
	if outage {
		harness.Eventually(t, "an outage over", func() error {
			if st, err = sup.Status(ctx); err != nil {
				return err
			}
			if c := st.Consumers[0]; len(c.OutageSeconds) == 0 || len(c.Outages) > 0 {
				return fmt.Errorf("%+v, %v", c.Outages, c.OutageSeconds)
			}
			return nil
		})
	}
	running()
	p := []wire.Partition{{Topic: name, Partition: 1}}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"pause", func() error { return sup.Pause(ctx, name, p) }},
		{"resume", func() error { return sup.Resume(ctx, name, p) }},
		{"quiet", func() error { return sup.Quiet(ctx, name) }},
		{"continue", func() error { return sup.Continue(ctx, name) }},
		{"log level", func() error { return sup.LogLevel(ctx, "debug") }},
		{"dump", func() error { return sup.Dump(ctx) }},
		{"restart", func() error { return sup.Restart(ctx, supervisor.RestartOptions{}) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	running()
	signals <- syscall.SIGUSR1
	if err := sup.Stop(ctx, supervisor.StopOptions{}); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the supervisor does not end")
	}
	for reason, n := range st.RestartsBy {
		if reason != "restart" || n != 1 {
			t.Errorf("%d restarts for %s", n, reason)
		}
	}
	return st
}
