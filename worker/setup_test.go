package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// journal keeps what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (d *journal) note(format string, a ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, a...))
}

func (d *journal) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

// setup returns a function for racecar.Setup that notes what is called; err is what it returns
// as long as it is not nil.
func (d *journal) setup(name string, err func() error) registered.Setup {
	return registered.Setup{Line: name + ".go:1", Run: func(ctx context.Context, rt racecar.Runtime) (func(context.Context) error, error) {
		if err := err(); err != nil {
			d.note("%s fails", name)
			return nil, err
		}
		d.note("%s", name)
		return func(ctx context.Context) error {
			d.note("undo %s", name)
			return ctx.Err()
		}, rt.Producer.Deliver(ctx)
	}}
}

func fine() error { return nil }

func (d *journal) registration(t *testing.T, topic string, err error, concurrency int) *racecar.Registration {
	return registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Concurrency: concurrency}, func(racecar.Runtime) (*processor, error) {
		d.note("constructor")
		return &processor{
			process:  func(context.Context, *racecar.Message) error { return nil },
			teardown: func() { d.note("teardown") },
		}, err
	})
}

func TestSetupsSurroundTheInstances(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	reg := d.registration(t, b.Topic(1), nil, 1)
	s := start(t, reg, testConfig(b, b.Group()), func(o *Options) {
		o.Setups = []registered.Setup{
			d.setup("a", fine),
			{Line: "none.go:1", Run: func(context.Context, racecar.Runtime) (func(context.Context) error, error) { return nil, nil }},
			d.setup("b", fine),
		}
	})
	s.running()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if got, want := d.String(), "a, b, constructor, teardown, undo b, undo a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// An error of a setup, or a panic, ends the worker as a constructor's does, after the
// teardowns of the setups before it.
func TestSetupFailsLikeAConstructor(t *testing.T) {
	b := testbroker.New(t)
	for name, tc := range map[string]struct {
		setup       func() error
		constructor error
		diary       string
		reason      string
		code        int
	}{
		"error":       {func() error { return errors.New("no database") }, nil, "a, b fails, undo a", "setup at b.go:1: no database", wire.ExitCrash},
		"fatal":       {func() error { return racecar.Fatal(errors.New("no licence")) }, nil, "a, b fails, undo a", "setup at b.go:1: no licence", wire.ExitPermanent},
		"panic":       {func() error { panic("broken setup") }, nil, "a, undo a", "setup at b.go:1: panic: broken setup", wire.ExitCrash},
		"constructor": {fine, errors.New("not now"), "a, b, constructor, undo b, undo a", "not now", wire.ExitCrash},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &journal{}
			reg := d.registration(t, b.Topic(1), tc.constructor, 1)
			s := start(t, reg, testConfig(b, b.Group()), func(o *Options) { o.Setups = []registered.Setup{d.setup("a", fine), d.setup("b", tc.setup)} })
			code := s.awaitExit()
			if got := s.exitReport().Reason; code != tc.code || !strings.Contains(got, tc.reason) {
				t.Errorf("exit code %d, reason %q, want %d, %q", code, got, tc.code, tc.reason)
			}
			if got := d.String(); got != tc.diary {
				t.Errorf("%s, want %s", got, tc.diary)
			}
		})
	}
}

// Once the consumer has been ready, a setup that fails is retried; those before it are not
// run again.
func TestSetupIsRetriedOnceReady(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	failed := false
	once := func() error {
		if !failed {
			failed = true
			return errors.New("no database yet")
		}
		return nil
	}
	s := start(t, d.registration(t, b.Topic(1), nil, 1), testConfig(b, b.Group()), func(o *Options) {
		o.Handshake.WasReady = true
		o.Setups = []registered.Setup{d.setup("a", fine), d.setup("b", once)}
	})
	s.running()
	s.stop()
	if got, want := d.String(), "a, b fails, b, constructor, teardown, undo b, undo a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A stop does not wait for a setup; its ctx ends, and what it did after all is undone.
func TestStopDuringASetup(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	entered, undone := make(chan struct{}), make(chan struct{})
	s := start(t, d.registration(t, b.Topic(1), nil, 1), testConfig(b, b.Group()), func(o *Options) {
		o.Setups = []registered.Setup{d.setup("a", fine), {Line: "slow.go:1", Run: func(ctx context.Context, _ racecar.Runtime) (func(context.Context) error, error) {
			close(entered)
			<-ctx.Done()
			return func(context.Context) error { close(undone); return nil }, nil
		}}}
	})
	<-entered
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	select {
	case <-undone:
	case <-time.After(patient):
		t.Error("the slow setup is not undone")
	}
	if got := d.String(); !strings.HasPrefix(got, "a, ") || !slices.Contains(strings.Split(got, ", "), "undo a") || strings.Contains(got, "constructor") {
		t.Errorf("%s", got)
	}
}

// The ctx of a setup ends with worker_boot_timeout, early enough to report why.
func TestSetupHasUntilTheBootTimeout(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	cfg := testConfig(b, b.Group())
	cfg.WorkerBootTimeout = 500 * time.Millisecond
	s := start(t, d.registration(t, b.Topic(1), nil, 1), cfg, func(o *Options) {
		o.Setups = []registered.Setup{{Line: "slow.go:1", Run: func(ctx context.Context, _ racecar.Runtime) (func(context.Context) error, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("connecting: %w", ctx.Err())
		}}}
	})
	if code := s.awaitExit(); code != wire.ExitCrash {
		t.Errorf("exit code %d", code)
	}
	if got := s.exitReport().Reason; !strings.Contains(got, "setup at slow.go:1: connecting: context deadline exceeded") {
		t.Errorf("reason %q", got)
	}
}

// With concurrency, setups still surround all instances of the process.
func TestSetupsRunOncePerWorker(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	topic, group := b.Topic(3), b.Group()
	cfg := testConfig(b, group)
	cfg.Concurrency = 3
	s := start(t, d.registration(t, topic, nil, 3), cfg, func(o *Options) { o.Setups = []registered.Setup{d.setup("a", fine)} })
	s.await("three instances", func() bool { return strings.Count(d.String(), "constructor") == 3 })
	s.stop()
	if got, want := d.String(), "a, constructor, constructor, constructor, teardown, teardown, teardown, undo a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A teardown that fails is logged and reported; the others run all the same.
func TestTeardownOfASetupFails(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	d := &journal{}
	cfg := testConfig(b, b.Group())
	reports := make(chan string, 2)
	cfg.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { reports <- err.Error() }
	broken := func(undo func() error) registered.Setup {
		return registered.Setup{Line: "broken.go:1", Run: func(context.Context, racecar.Runtime) (func(context.Context) error, error) {
			return func(context.Context) error { return undo() }, nil
		}}
	}
	s := start(t, d.registration(t, b.Topic(1), nil, 1), cfg, func(o *Options) {
		o.Setups = []registered.Setup{d.setup("a", fine), broken(func() error { return errors.New("stuck door") }), broken(func() error { panic("broken door") })}
	})
	s.running()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if first, second := <-reports, <-reports; first != "panic: broken door" || second != "stuck door" {
		t.Errorf("reported %q, %q", first, second)
	}
	if got := d.String(); !strings.HasSuffix(got, "undo a") {
		t.Errorf("%s", got)
	}
}
