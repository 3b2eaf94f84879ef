package racecar

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registry"
)

// program is what init functions registered. It and the default producer are the only
// mutable package state.
var program = registry.Share(&registry.Registry[*Registration, Event, Tracer]{})

// Registration is a registered consumer.
type Registration struct {
	name  string
	spec  Spec
	batch bool
	make  func(Runtime) (any, error)
}

// Name is the name the command line knows it by.
func (r *Registration) Name() string { return r.name }

// Spec is what it was registered with; Name is filled in.
func (r *Registration) Spec() Spec { return r.spec }

// Batch reports whether it is a BatchProcessor.
func (r *Registration) Batch() bool { return r.batch }

// New makes an instance: a Processor or a BatchProcessor, as Batch says.
func (r *Registration) New(rt Runtime) (any, error) { return r.make(rt) }

// Register makes a consumer known by name. Call it from init. new is called in
// worker processes only, once per instance: before the group is joined, and with
// Concurrency for each further partition when it is assigned. Until the consumer has
// been ready once, its error counts as a crash of the worker; afterwards it is retried
// with backoff while the worker, or with Concurrency the partition, waits. Fatal ends
// the worker for good; a panic is a crash. In a rolling restart new is called while the
// worker that is replaced still consumes.
//
// What is wrong with a registration (a name taken twice or missing, no subscription, C
// an interface, C with neither or both of Process and ProcessBatch, a hook with another
// signature, hooks on *C when C is registered by value) is reported by the racecar command
// with its file and line. No consumer is run then, commands that need none work.
func Register[C any](newConsumer func(Runtime) (C, error), spec Spec) {
	r, err := NewRegistration(newConsumer, spec)
	if err == nil {
		err = program.Add(r)
	}
	if err != nil {
		program.AddMistake(fmt.Errorf("%s: Register of %s: %w", caller(2), reflect.TypeFor[C](), err))
	}
}

// caller names the line that called a function of this package, so many frames up.
func caller(skip int) string {
	_, file, line, ok := runtime.Caller(skip)
	if !ok {
		return "an unknown place"
	}
	if dir, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(dir, file); err == nil && !strings.HasPrefix(short, "..") {
			file = short
		}
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// NewRegistration checks a consumer as Register does without making it known by
// its name: package racecartest runs consumers that are registered nowhere.
func NewRegistration[C any](newConsumer func(Runtime) (C, error), spec Spec) (*Registration, error) {
	if newConsumer == nil {
		return nil, fmt.Errorf("the constructor is nil")
	}
	name, batch, err := inspect(reflect.TypeFor[C](), spec)
	if err != nil {
		return nil, err
	}
	spec.Name = name
	spec.Subscriptions = slices.Clone(spec.Subscriptions)
	return &Registration{name: name, spec: spec, batch: batch, make: func(rt Runtime) (any, error) {
		c, err := newConsumer(rt)
		if err != nil {
			return nil, err
		}
		return c, nil
	}}, nil
}

// Configure adds a function that changes the configuration in code, after the
// file and before the Spec, environment and flags. Call it from init. The
// functions run in the order of registration in each process; in a worker only
// what they set of the function-typed fields counts.
func Configure(f func(*Config) error) { program.AddConfigure(f) }

// Observe adds a subscriber to events. Call it from init: it is then called in each
// worker, by standalone producers and, with the Worker events, in the supervisor, one
// call after the other. One that panics is called again with the next event; one that lags
// thousands of events behind misses some, which is logged. Neither holds up a
// message. A call that comes after the start, from a constructor say, reaches only what
// is opened later, and is warned of.
func Observe(f func(Event)) {
	if program.AddObserver(f) {
		slog.Warn("racecar.Observe is called after the start and misses events of what runs already: call it from init", "at", caller(2))
	}
}

// hooks are the methods with a meaning, by name.
var hooks = map[string]reflect.Type{
	"Process":              reflect.TypeFor[Processor](),
	"ProcessBatch":         reflect.TypeFor[BatchProcessor](),
	"Teardown":             reflect.TypeFor[TeardownHook](),
	"OnPartitionsAssigned": reflect.TypeFor[AssignmentHook](),
	"OnPartitionsRevoked":  reflect.TypeFor[RevocationHook](),
	"OnStatistics":         reflect.TypeFor[StatisticsHook](),
}

// inspect checks the shape of a consumer type without an instance.
func inspect(t reflect.Type, spec Spec) (name string, batch bool, err error) {
	if t.Kind() == reflect.Interface {
		return "", false, fmt.Errorf("it is an interface, whose optional hooks cannot be checked; let the constructor return the concrete type")
	}
	for _, method := range sortedKeys(hooks) {
		want := hooks[method]
		m, has := t.MethodByName(method)
		if has && !t.Implements(want) {
			return "", false, fmt.Errorf("%s has the signature %s; racecar calls %s", method, signature(m.Type, 1), signature(want.Method(0).Type, 0))
		}
		if !has && t.Kind() != reflect.Pointer {
			if _, onPointer := reflect.PointerTo(t).MethodByName(method); onPointer {
				return "", false, fmt.Errorf("%s is a method of *%s; let the constructor return the pointer", method, t.Name())
			}
		}
	}
	single, batch := t.Implements(hooks["Process"]), t.Implements(hooks["ProcessBatch"])
	if single == batch {
		return "", false, fmt.Errorf("a consumer has exactly one of %s and %s", "Process(context.Context, *racecar.Message) error", "ProcessBatch(context.Context, []*racecar.Message) error")
	}
	if name, err = consumerName(t, spec.Name); err != nil {
		return "", false, err
	}
	return name, batch, checkSubscriptions(spec)
}

func consumerName(t reflect.Type, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	base := t
	if base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	name := base.Name()
	adapter := base == reflect.TypeFor[ProcessFunc]() || base == reflect.TypeFor[ProcessBatchFunc]()
	if name == "" || adapter || strings.Contains(name, "[") {
		return "", fmt.Errorf("this type gives no name; set Spec.Name")
	}
	return name, nil
}

func checkSubscriptions(spec Spec) error {
	if len(spec.Subscriptions) == 0 {
		return fmt.Errorf("Spec.Subscriptions is empty; name at least one topic")
	}
	for i, s := range spec.Subscriptions {
		if (s.Topic == "") == (s.TopicPattern == "") {
			return fmt.Errorf("Spec.Subscriptions[%d] must set exactly one of Topic and TopicPattern%s", i, bothEmpty(s))
		}
		if s.Topic != "" && !config.ValidTopic(s.Topic) {
			return fmt.Errorf("Spec.Subscriptions[%d].Topic: %.300q cannot be a topic's name: Kafka takes letters, digits, \".\", \"_\" and \"-\", at most 249 of them", i, s.Topic)
		}
	}
	return nil
}

// bothEmpty tells of the likelier mistake: a topic from a variable that is not set.
func bothEmpty(s Subscription) string {
	if s.Topic == "" {
		return ", and both are empty"
	}
	return ""
}

// signature prints a method's type without its receiver (the first skip parameters).
func signature(t reflect.Type, skip int) string {
	var in, out []string
	for i := skip; i < t.NumIn(); i++ {
		in = append(in, t.In(i).String())
	}
	for i := 0; i < t.NumOut(); i++ {
		out = append(out, t.Out(i).String())
	}
	s := "(" + strings.Join(in, ", ") + ")"
	switch len(out) {
	case 0:
		return s
	case 1:
		return s + " " + out[0]
	}
	return s + " (" + strings.Join(out, ", ") + ")"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
