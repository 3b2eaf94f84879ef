package racecar

import (
	"errors"
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
var program = registry.Share(&registry.Registry[*Registration, Event, Tracer, func(Handler) Handler, setupFunc]{})

// Registration is a consumer that can be run. Register makes one known by its name;
// NewRegistration makes one that is not.
type Registration struct {
	name  string
	spec  Spec
	batch bool
	make  func(Runtime) (any, error)
}

// Name returns the consumer's name: Spec.Name, or that of its type.
func (r *Registration) Name() string { return r.name }

// Spec returns the Spec given at the registration, with its Name filled in.
func (r *Registration) Spec() Spec { return r.spec }

// Batch reports whether the consumer is a BatchProcessor.
func (r *Registration) Batch() bool { return r.batch }

// New calls the consumer's constructor. The result is a BatchProcessor if Batch reports
// true, else a Processor.
func (r *Registration) New(rt Runtime) (any, error) { return r.make(rt) }

// Register makes a consumer known by its name, so that the racecar command can run it. Call
// it from init.
//
// newConsumer is called in worker processes alone, once per instance: before the worker
// joins its group and, with Spec.Concurrency, for each further partition that is assigned.
// Until the worker has been ready once, an error of newConsumer counts as a crash; from then
// on it is retried with backoff while the worker, or with Concurrency the partition, waits.
// Fatal stops the worker permanently, and a panic is a crash. In a rolling restart
// newConsumer runs while the worker that is being replaced still consumes.
//
// A mistake in a registration is kept and reported by the racecar command, with file and
// line: a name that is missing or taken, no subscription, a C that is an interface or has
// neither or both of Process and ProcessBatch, a hook with another signature, hooks on *C
// while C is registered by value. Then no consumer can be run; commands that need none work.
// A mistake in Spec.Subscriptions or Spec.Use concerns that consumer alone: the others can be run by
// their names.
func Register[C any](newConsumer func(Runtime) (C, error), spec Spec) {
	r, err := NewRegistration(newConsumer, spec)
	if err == nil {
		err = program.Add(r)
	}
	if err != nil {
		what := reflect.TypeFor[C]().String()
		if of := (*registry.ConsumerError)(nil); errors.As(err, &of) {
			what = of.Consumer
		}
		program.AddMistake(fmt.Errorf("%s: Register of %s: %w", caller(2), what, err))
	}
}

// caller returns the file and line of a caller of this package, skip frames up.
func caller(skip int) string {
	_, file, line, ok := runtime.Caller(skip)
	if !ok {
		return "unknown line"
	}
	if dir, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(dir, file); err == nil && !strings.HasPrefix(short, "..") {
			file = short
		}
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// NewRegistration checks a consumer as Register does, without making it known by its name.
// It returns an error for the mistakes that Register keeps.
func NewRegistration[C any](newConsumer func(Runtime) (C, error), spec Spec) (*Registration, error) {
	if newConsumer == nil {
		return nil, fmt.Errorf("the constructor is nil")
	}
	name, batch, err := inspect(reflect.TypeFor[C](), spec)
	if err != nil {
		return nil, err
	}
	spec.Name = name
	spec.Subscriptions, spec.Use = slices.Clone(spec.Subscriptions), slices.Clone(spec.Use)
	return &Registration{name: name, spec: spec, batch: batch, make: func(rt Runtime) (any, error) {
		c, err := newConsumer(rt)
		if err != nil {
			return nil, err
		}
		return c, nil
	}}, nil
}

// Configure adds a function that changes the configuration: it runs after the file has been
// read and before the Spec, variables and flags override it. Call it from init. The
// functions run in the order of the calls, once in each process of a consumer; in a worker
// only the function-typed fields that they set count. An error or a panic of f is a mistake
// in the configuration: the command exits with it, and names the line of f.
func Configure(f func(*Config) error) { program.AddConfigure(f) }

// Observe adds a subscriber to events (upstream: ActiveSupport::Notifications). Call it from
// init: f is then called in each worker, by standalone producers and, with the events of
// workers, in the supervisor. It is called with one event at a time, on goroutines that process
// no messages, so a subscriber delays none. Events of one worker come in the order in which they
// happened. A panic of f is logged, and f is called again with the next event. A subscriber that
// is more than 4096 events behind misses some, which is logged.
//
// A call after the start (from a constructor, for example) is logged with a warning: f only
// receives the events of producers that are opened later.
func Observe(f func(Event)) {
	if program.AddObserver(f) {
		slog.Warn("racecar.Observe is called after the start, so the subscriber misses the events of this worker and of producers that are open: call it from init", "at", caller(2))
	}
}

// hooks are the methods that racecar calls, by name.
var hooks = map[string]reflect.Type{
	"Process":              reflect.TypeFor[Processor](),
	"ProcessBatch":         reflect.TypeFor[BatchProcessor](),
	"Teardown":             reflect.TypeFor[TeardownHook](),
	"OnPartitionsAssigned": reflect.TypeFor[AssignmentHook](),
	"OnPartitionsRevoked":  reflect.TypeFor[RevocationHook](),
	"OnStatistics":         reflect.TypeFor[StatisticsHook](),
}

// inspect checks a consumer's type without an instance.
func inspect(t reflect.Type, spec Spec) (name string, batch bool, err error) {
	if t.Kind() == reflect.Interface {
		return "", false, fmt.Errorf("it is an interface, whose hooks cannot be checked; let the constructor return the concrete type")
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
	if err := checkSubscriptions(spec); err != nil {
		return "", false, &registry.ConsumerError{Consumer: name, Err: err}
	}
	if i := slices.IndexFunc(spec.Use, func(m func(Handler) Handler) bool { return m == nil }); i >= 0 {
		return "", false, &registry.ConsumerError{Consumer: name, Err: fmt.Errorf("Spec.Use[%d] is nil", i)}
	}
	return name, batch, nil
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

// bothEmpty names the likelier mistake: a topic from a variable that is not set.
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
