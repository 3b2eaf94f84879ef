package racecar

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/internal/registry"
)

type single struct{}

func (single) Process(context.Context, *Message) error { return nil }

type batch struct{}

func (*batch) ProcessBatch(context.Context, []*Message) error { return nil }

type both struct{ single }

func (both) ProcessBatch(context.Context, []*Message) error { return nil }

type neither struct{}

type wrongProcess struct{}

func (wrongProcess) Process(*Message) error { return nil }

type wrongTeardown struct{ single }

func (wrongTeardown) Teardown() {}

type hookOnPointer struct{ single }

func (*hookOnPointer) Teardown(context.Context) error { return nil }

type generic[T any] struct{ single }

var topic = Spec{Subscriptions: []Subscription{{Topic: "t"}}}

// emptyRegistry gives the test a registry of its own.
func emptyRegistry(t *testing.T) {
	t.Helper()
	before := program
	program = &registry.Registry[*Registration, Event, Tracer, func(Handler) Handler, setupFunc]{}
	t.Cleanup(func() { program = before })
}

func register[C any](spec Spec) func() {
	return func() { Register(func(Runtime) (c C, err error) { return c, nil }, spec) }
}

func named(name string) Spec {
	s := topic
	s.Name = name
	return s
}

func TestRegisterRefusesProgrammersMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		register func()
		message  string
	}{
		"interface":       {register[Processor](topic), "it is an interface"},
		"neither":         {register[neither](topic), "exactly one of Process(context.Context, *racecar.Message) error and ProcessBatch"},
		"both":            {register[both](topic), "exactly one of"},
		"signature":       {register[wrongProcess](topic), "Process has the signature (*racecar.Message) error; racecar calls (context.Context, *racecar.Message) error"},
		"hook signature":  {register[wrongTeardown](topic), "Teardown has the signature (); racecar calls (context.Context) error"},
		"hook on pointer": {register[hookOnPointer](topic), "Teardown is a method of *hookOnPointer; let the constructor return the pointer"},
		"batch by value":  {register[batch](topic), "ProcessBatch is a method of *batch"},
		"adapter":         {register[ProcessFunc](topic), "set Spec.Name"},
		"batch adapter":   {register[ProcessBatchFunc](topic), "set Spec.Name"},
		"generic":         {register[generic[int]](topic), "set Spec.Name"},
		"no subscription": {register[single](Spec{}), "Spec.Subscriptions is empty"},
		"nil middleware":  {register[single](Spec{Subscriptions: topic.Subscriptions, Use: []func(Handler) Handler{outermost, nil}}), "Spec.Use[1] is nil"},
		"a slash":         {register[single](Spec{Subscriptions: []Subscription{{Topic: "orders/eu"}}}), `Spec.Subscriptions[0].Topic: "orders/eu" cannot be a topic's name`},
		"a blank":         {register[single](Spec{Subscriptions: []Subscription{{Topic: "orders "}}}), `Spec.Subscriptions[0].Topic: "orders " cannot be a topic's name`},
		"dots":            {register[single](Spec{Subscriptions: []Subscription{{Topic: ".."}}}), `Spec.Subscriptions[0].Topic: ".." cannot be a topic's name`},
		"a long name":     {register[single](Spec{Subscriptions: []Subscription{{Topic: strings.Repeat("x", 250)}}}), "cannot be a topic's name"},
		"no topic":        {register[single](Spec{Subscriptions: []Subscription{{}}}), "exactly one of Topic and TopicPattern"},
		"topic twice over": {register[single](Spec{Subscriptions: []Subscription{{Topic: "a", TopicPattern: "b"}}}),
			"Spec.Subscriptions[0] must set exactly one of Topic and TopicPattern"},
		"nil constructor": {func() { Register[single](nil, topic) }, "the constructor is nil"},
		"name taken": {func() { register[single](named("x"))(); register[*batch](named("x"))() },
			`the name "x" is taken; set Spec.Name`},
	} {
		t.Run(name, func(t *testing.T) {
			emptyRegistry(t)
			test.register()
			mistakes := program.Mistakes()
			if len(mistakes) != 1 {
				t.Fatalf("mistakes: %v", mistakes)
			}
			got := mistakes[0].Error()
			if !strings.HasPrefix(got, "register_test.go:") || !strings.Contains(got, ": Register of ") || !strings.Contains(got, test.message) {
				t.Errorf("mistake %q\nwant it to name the line, and %q", got, test.message)
			}
			if n := len(program.Consumers()); n > 1 {
				t.Errorf("%d are registered", n)
			}
		})
	}
}

// All mistakes are kept, and correct consumers are registered beside them.
func TestAllMistakesAreKept(t *testing.T) {
	emptyRegistry(t)
	register[neither](named("first"))()
	register[single](named("good"))()
	register[single](Spec{Name: "second"})()
	if got := program.Mistakes(); len(got) != 2 || !strings.Contains(got[0].Error(), "racecar.neither") || !strings.Contains(got[1].Error(), "Spec.Subscriptions is empty") {
		t.Errorf("mistakes: %v", got)
	}
	if program.Lookup("good") == nil {
		t.Error("the correct one is not registered")
	}
}

func TestRegisteredConsumersAreFoundByName(t *testing.T) {
	emptyRegistry(t)
	register[single](topic)()
	register[*batch](topic)()
	register[generic[int]](named("Billing::InvoiceConsumer"))()

	var names []string
	for _, r := range program.Consumers() {
		names = append(names, r.Name())
	}
	if got, want := strings.Join(names, " "), "Billing::InvoiceConsumer batch single"; got != want {
		t.Errorf("registered %q, want %q", got, want)
	}
	if r := program.Lookup("batch"); r == nil || !r.Batch() || r.Spec().Name != "batch" {
		t.Errorf("batch: %+v", r)
	}
	if r := program.Lookup("single"); r == nil || r.Batch() {
		t.Errorf("single: %+v", r)
	}
	if program.Lookup("nobody") != nil {
		t.Error("an unregistered consumer was found")
	}
}

func TestConstructorsErrorYieldsNoInstance(t *testing.T) {
	emptyRegistry(t)
	down := errors.New("database down")
	Register(func(Runtime) (*batch, error) { return nil, down }, topic)
	c, err := program.Lookup("batch").New(Runtime{})
	if c != nil || !errors.Is(err, down) {
		t.Errorf("got %v, %v", c, err)
	}
}

// A late call of Observe is logged with its line.
func TestLateObserver(t *testing.T) {
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	emptyRegistry(t)
	Observe(func(Event) {})
	if b.Len() > 0 {
		t.Errorf("in time: %s", &b)
	}
	if _, err := program.StartTracer(&Config{}, slog.Default()); err != nil {
		t.Fatal(err)
	}
	Observe(func(Event) {})
	if !strings.Contains(b.String(), "call it from init") || !strings.Contains(b.String(), "register_test.go:") {
		t.Errorf("%s", &b)
	}
}
