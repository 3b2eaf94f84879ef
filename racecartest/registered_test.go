package racecartest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
)

// shipped is a registered consumer; its middleware marks what the consumer returns.
type shipped struct{ rt racecar.Runtime }

func (c shipped) Process(ctx context.Context, m *racecar.Message) error {
	racecar.Logger(ctx).Info("processing")
	return errors.New(c.rt.Worker.Consumer + " " + c.rt.Worker.Group)
}

func init() {
	racecar.Register(func(rt racecar.Runtime) (shipped, error) { return shipped{rt}, nil }, racecar.Spec{
		Name: "Shipped", GroupID: "shippers", Subscriptions: []racecar.Subscription{{Topic: "in"}}, MaxRetries: 1,
		Use: []func(racecar.Handler) racecar.Handler{func(next racecar.Handler) racecar.Handler {
			return func(ctx context.Context, ms []*racecar.Message) error {
				return fmt.Errorf("middleware: %w", next(ctx, ms))
			}
		}},
	})
}

// logged is a test that keeps its log.
type logged struct {
	testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Log(a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.text, a...)
}

func (l *logged) lines(message string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, message) {
			all = append(all, line)
		}
	}
	return all
}

// A registered consumer is tested with the name, group, middlewares and limits of its Spec.
func TestRunRegistered(t *testing.T) {
	l := &logged{TB: t}
	r := RunRegistered(l, "Shipped", []*racecar.Message{{Topic: "in", Partition: 3, Offset: 7, Key: []byte("k")}})
	const want = "middleware: Shipped shippers"
	if got := r.Errors[0]; got == nil || got.Error() != want {
		t.Errorf("error %v, want %s", got, want)
	}
	lines := l.lines("msg=processing")
	if len(lines) != 1 || !strings.Contains(lines[0], "consumer=Shipped group=shippers topic=in partition=3 offset=7 key=k attempt=1") {
		t.Errorf("log of the call: %q", lines)
	}

	b := NewBroker(t)
	b.Topic("in", 1)
	b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("x")})
	l = &logged{TB: t}
	w := RunRegisteredWorker(l, b, "Shipped")
	if m := b.WaitMessages("shippers.dlq", 1); string(m[0].Value) != "x" {
		t.Errorf("dead letter %q", m[0].Value)
	}
	w.Stop()
	if lines = l.lines("msg=processing"); len(lines) != 2 || !strings.Contains(lines[1], "attempt=2") || !strings.Contains(lines[1], "topic=in") {
		t.Errorf("log of the worker: %q", lines)
	}
}

// fatal is a test that must end by Fatal.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Fatal(a ...any)            { f.text = fmt.Sprint(a...); panic(f) }
func (f *fatal) Fatalf(s string, a ...any) { f.Fatal(fmt.Sprintf(s, a...)) }

// refused returns the text with which run fails its test.
func refused(t *testing.T, run func(testing.TB)) (text string) {
	t.Helper()
	f := &fatal{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
		text = f.text
	}()
	run(f)
	return ""
}

func TestRunRegisteredRefusesMistakes(t *testing.T) {
	if got := refused(t, func(f testing.TB) { RunRegistered(f, "Nobody", nil) }); !strings.Contains(got, `no consumer is registered as "Nobody"`) || !strings.Contains(got, `"Shipped"`) {
		t.Errorf("unknown name: %q", got)
	}
	if got := refused(t, func(f testing.TB) { RunRegistered(f, "Shipped", nil, WithSpec(racecar.Spec{})) }); !strings.Contains(got, "its own Spec") {
		t.Errorf("with a Spec: %q", got)
	}
}

// noteSetup is a setup that notes what is called.
func noteSetup(diary *[]string, err error) registered.Setup {
	return registered.Setup{Line: "app.go:1", Run: func(context.Context, racecar.Runtime) (func(context.Context) error, error) {
		*diary = append(*diary, "setup")
		return func(context.Context) error { *diary = append(*diary, "undo"); return err }, nil
	}}
}

func TestSetupRunsInTests(t *testing.T) {
	var diary []string
	newConsumer := func(racecar.Runtime) (racecar.ProcessFunc, error) {
		diary = append(diary, "constructor")
		return func(context.Context, *racecar.Message) error { return nil }, nil
	}
	withSetups := func(o *options) {
		o.setups = []registered.Setup{noteSetup(&diary, nil), noteSetup(&diary, errors.New("stuck door"))}
	}
	r := Run(t, newConsumer, nil, withSetups)
	if got := strings.Join(diary, " "); got != "setup setup constructor undo undo" {
		t.Errorf("Run: %s", got)
	}
	if r.TeardownErr == nil || r.TeardownErr.Error() != "stuck door" {
		t.Errorf("teardown: %v", r.TeardownErr)
	}

	failing := func(o *options) {
		o.setups = []registered.Setup{noteSetup(&diary, nil), {Line: "app.go:2", Run: func(context.Context, racecar.Runtime) (func(context.Context) error, error) {
			return nil, errors.New("no database")
		}}}
	}
	diary = nil
	if got := refused(t, func(f testing.TB) { Run(f, newConsumer, nil, failing) }); got != "setup at app.go:2: no database" || strings.Join(diary, " ") != "setup undo" {
		t.Errorf("a failing setup: %q, %v", got, diary)
	}
	diary = nil
	Run(t, newConsumer, nil, failing, WithoutSetup())
	if got := strings.Join(diary, " "); got != "constructor" {
		t.Errorf("WithoutSetup: %s", got)
	}
}

// The workers at one broker share what Setup made, as the variables that it sets are shared.
func TestWorkersInATestShareTheirSetup(t *testing.T) {
	var diary []string
	b := NewBroker(t)
	b.Topic("in", 2)
	newConsumer := func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(context.Context, *racecar.Message) error { return nil }, nil
	}
	w := RunWorker(t, b, newConsumer, WithSpec(racecar.Spec{Name: "C", GroupID: "c", Subscriptions: []racecar.Subscription{{Topic: "in"}}}), func(o *options) {
		o.setups = []registered.Setup{noteSetup(&diary, nil)}
	})
	w.Rebalance() // runs another worker and stops it again
	w.Stop()
	if got := strings.Join(diary, " "); got != "setup undo" {
		t.Errorf("got %s", got)
	}
}

// spans is a tracer that records what it is asked for.
type spans struct {
	mu   sync.Mutex
	list []string
}

func (s *spans) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, text)
}

func (s *spans) Start(*racecar.Config, *slog.Logger) error { return nil }
func (s *spans) Flush(context.Context) error               { return nil }
func (s *spans) SpanIDs(context.Context) (traceID, spanID string) {
	return "cafe", "f00d"
}
func (s *spans) ProcessMessage(ctx context.Context, w racecar.Worker, m *racecar.Message) (context.Context, func(error)) {
	return ctx, func(err error) { s.note(fmt.Sprintf("%s %s@%d %v", w.Consumer, m.Topic, m.Offset, err)) }
}
func (s *spans) ProcessBatch(ctx context.Context, w racecar.Worker, ms []*racecar.Message) (context.Context, func(error)) {
	return ctx, func(err error) { s.note(fmt.Sprintf("%s %d messages %v", w.Consumer, len(ms), err)) }
}
func (s *spans) Produce(_ context.Context, m *racecar.ProducerMessage) func(int32, int64, error) {
	m.Headers = append(m.Headers, racecar.Header{Key: "traceparent"})
	return func(_ int32, _ int64, err error) { s.note(fmt.Sprintf("send %s %v", m.Topic, err)) }
}

// A registered tracer works in Run as in a worker.
func TestTracerRunsInTests(t *testing.T) {
	s := &spans{}
	racecar.Trace(s)
	t.Cleanup(func() { racecar.Trace(nil) })
	l := &logged{TB: t}
	r := Run(l, func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			racecar.Logger(ctx).Info("processing")
			return errors.Join(rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "out"}), errors.New("afterwards"))
		}, nil
	}, []*racecar.Message{{Topic: "in"}})
	if len(r.Produced) != 1 || len(r.Produced[0].Headers) != 1 || r.Produced[0].Headers[0].Key != "traceparent" {
		t.Errorf("produced %+v", r.Produced)
	}
	Run(t, func(racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(context.Context, []*racecar.Message) error { return nil }, nil
	}, []*racecar.Message{{Topic: "in"}, {Topic: "in", Offset: 1}})
	if got := strings.Join(s.list, ", "); got != "send out <nil>, Test in@0 afterwards, Test 2 messages <nil>" {
		t.Errorf("spans %s", got)
	}
	if lines := l.lines("msg=processing"); len(lines) != 1 || !strings.Contains(lines[0], "trace_id=cafe span_id=f00d") {
		t.Errorf("log %q", lines)
	}
}
