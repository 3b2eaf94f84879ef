package racecartest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/calllog"
	"github.com/racecar-go/racecar/internal/middleware"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

func init() { callctx.InTests.Store(true) }

// Runtime returns a constructor's argument for a test without a broker: its Producer records
// messages (see Produced), its Logger writes to the test's log, its Config has the defaults and
// what racecar.Configure sets.
func Runtime(t testing.TB) racecar.Runtime {
	t.Helper()
	noMistakes(t)
	return runtimeOf(t, options{}.load(t, nil), racecar.Worker{Consumer: "Test", Group: "test"})
}

func runtimeOf(t testing.TB, c racecar.Config, w racecar.Worker) racecar.Runtime {
	return racecar.Runtime{
		Producer: &recorder{config: &c},
		Logger:   slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Worker:   w,
		Config:   &c,
	}
}

// Produced returns the messages produced so far with a Runtime of this package, in order. It
// panics for any other Runtime.
func Produced(rt racecar.Runtime) []racecar.ProducerMessage {
	r := rt.Producer.(*recorder)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// recorder is a producer whose messages are acknowledged at once.
type recorder struct {
	config        *config.Config
	transactional bool
	tracer        racecar.Tracer // nil: none

	mu       sync.Mutex
	messages []racecar.ProducerMessage
	// inCall has what the running call has given to Produce: where it is in messages.
	inCall  []int
	refused error // of a message that a broker refuses later; fails the call even if it ignores the error
}

func (r *recorder) Produce(ctx context.Context, m racecar.ProducerMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.add(ctx, m)
	switch {
	case err == nil:
		r.inCall = append(r.inCall, len(r.messages)-1)
	case m.Topic != "" && !config.ValidTopic(m.Topic):
		r.refused = errors.Join(r.refused, err)
	}
	return err
}

// call calls f as a call of the consumer and returns its error.
func (r *recorder) call(f func() error) error {
	r.mu.Lock()
	r.inCall, r.refused = nil, nil
	r.mu.Unlock()
	err := f()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil {
		return r.refused
	}
	return err
}

// inTransaction reports whether a transaction would hold output of the last call.
func (r *recorder) inTransaction() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.transactional && len(r.inCall) > 0
}

// abort drops what a transaction would drop of the last call's output.
func (r *recorder) abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.transactional {
		return
	}
	for _, i := range slices.Backward(r.inCall) {
		r.messages = slices.Delete(r.messages, i, i+1)
	}
	r.inCall = nil
}

// ProduceSync, ProduceAsync and WaitForDelivery replace the default producer's in calls of a
// consumer under test.
func (r *recorder) ProduceSync(ctx context.Context, m racecar.ProducerMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(ctx, m)
}

// add records m, or refuses it as a worker's producer does. r.mu is held.
func (r *recorder) add(ctx context.Context, m racecar.ProducerMessage) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if r.tracer != nil {
		defer r.tracer.Produce(ctx, &m)(-1, -1, nil)
	}
	// The author's buffers may be used again: m is copied.
	k := producer.Message{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value, PartitionKey: m.PartitionKey, Timestamp: m.Timestamp}
	for _, h := range m.Headers {
		k.Headers = append(k.Headers, producer.Header(h))
	}
	if err := producer.CheckMessage(k, r.config); err != nil {
		return err
	}
	if !config.ValidTopic(m.Topic) {
		return fmt.Errorf("produce: %q cannot be a topic's name", m.Topic)
	}
	k = k.Clone()
	m.Partition, m.Key, m.Value, m.PartitionKey, m.Headers = k.Partition, k.Key, k.Value, k.PartitionKey, nil
	for _, h := range k.Headers {
		m.Headers = append(m.Headers, racecar.Header(h))
	}
	r.messages = append(r.messages, m)
	return nil
}

func (r *recorder) ProduceAsync(ctx context.Context, m racecar.ProducerMessage) error {
	return r.ProduceSync(ctx, m)
}

func (r *recorder) WaitForDelivery(ctx context.Context, f func(context.Context) error) error {
	return f(ctx)
}

func (r *recorder) Deliver(ctx context.Context) error { return context.Cause(ctx) }

// testLog writes lines to a test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// Result is the result of Run.
type Result struct {
	// Produced has the messages that the consumer produced, in order.
	Produced []racecar.ProducerMessage
	// Errors has the error of each message, in the order of the messages; nil: processed.
	// VerdictOf returns how a worker would treat it. A batch's error is the error of each of
	// its messages. With racecar.FailedAt it is that of the messages from the named one on
	// or, for Skip and DeadLetter, of that one alone.
	Errors []error
	// TeardownErr is the error of Teardown, and of what functions given to racecar.Setup returned.
	TeardownErr error
}

// Err joins all errors; nil if there are none.
func (r Result) Err() error {
	var all []error
	for i, err := range r.Errors {
		if err != nil {
			all = append(all, fmt.Errorf("message %d: %w", i, err))
		}
	}
	if r.TeardownErr != nil {
		all = append(all, fmt.Errorf("teardown: %w", r.TeardownErr))
	}
	return errors.Join(all...)
}

// noMistakes fails the test if the program under test has registered a consumer that cannot be
// run.
func noMistakes(t testing.TB) {
	t.Helper()
	if err := errors.Join(registered.Mistakes()...); err != nil {
		t.Fatal(err)
	}
}

// Run makes a consumer and hands it messages as a worker does, without a broker, through
// its middlewares: the functions given to racecar.Setup, assignment, each message once, in
// order, revocation, teardown. A BatchProcessor is given
// those that follow one another in one partition together, up to fetch_messages at a time.
// Run refuses what a producer refuses in production (racecar.ProduceSync and its like
// included). The test fails when the constructor returns an error; an error of a call is
// in the Result; a panic is the test's.
//
// WithSpec gives Run the consumer's Spec; without it Run knows none. A Transactional
// consumer's output is in Result.Produced only if a worker would commit it: not that of a
// call that a worker would retry or stop at. As in a worker, a batch of such a consumer
// that has produced something and returns racecar.FailedAt is called again in smaller
// batches, since nobody knows which output belongs to the messages that are done.
//
// Each message is handed over whatever became of the messages before it, even behind one
// that a worker would retry or stop at. Errors that depend on a topic's partitions or a
// broker's limits only show in RunWorker.
func Run[C any](t testing.TB, newConsumer func(racecar.Runtime) (C, error), messages []*racecar.Message, options ...Option) Result {
	t.Helper()
	o := collect(options)
	return runConsumer(t, unregistered(t, newConsumer, o), messages, o)
}

// RunRegistered is Run for the consumer that is registered under name, with its constructor
// and its Spec, so that what is tested is what runs in production. WithSpec is refused.
func RunRegistered(t testing.TB, name string, messages []*racecar.Message, options ...Option) Result {
	t.Helper()
	o := collect(options)
	reg := lookup(t, name, &o)
	return runConsumer(t, reg, messages, o)
}

// lookup finds a registered consumer, whose Spec counts.
func lookup(t testing.TB, name string, o *options) *racecar.Registration {
	t.Helper()
	noMistakes(t)
	reg := registered.Lookup(name)
	if reg == nil {
		var names []string
		for _, r := range registered.Consumers() {
			names = append(names, r.Name())
		}
		t.Fatalf("no consumer is registered as %q in this test's program; registered are %q", name, names)
	}
	if o.spec != nil {
		t.Fatal("racecartest.WithSpec: a registered consumer has its own Spec")
	}
	spec := reg.Spec()
	o.spec = &spec
	return reg
}

// unregistered is a consumer that need not be registered.
func unregistered[C any](t testing.TB, newConsumer func(racecar.Runtime) (C, error), o options) *racecar.Registration {
	t.Helper()
	noMistakes(t)
	spec := racecar.Spec{Name: "Test", GroupID: "test"}
	if o.spec != nil {
		spec = *o.spec
	}
	if len(spec.Subscriptions) == 0 {
		spec.Subscriptions = []racecar.Subscription{{TopicPattern: ".*"}}
	}
	reg, err := racecar.NewRegistration(newConsumer, spec)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// runConsumer is Run for a consumer that may be registered.
func runConsumer(t testing.TB, reg *racecar.Registration, messages []*racecar.Message, o options) Result {
	t.Helper()
	if i := slices.Index(messages, nil); i >= 0 {
		t.Fatalf("message %d of %d is nil", i, len(messages))
	}
	values := registered.SpecValues(reg)
	c := o.load(t, &values)
	rt := runtimeOf(t, c, racecar.Worker{Consumer: reg.Name(), Group: c.GroupID})
	tracer, err := registered.StartTracer(rt.Config, rt.Logger)
	if err != nil {
		t.Fatal(err)
	}
	out := rt.Producer.(*recorder)
	out.transactional, out.tracer = reg.Spec().Transactional, tracer
	ctx := &calllog.Parent{
		Context: callctx.WithProducer(t.Context(), rt.Producer), Tracer: tracer,
		Logger: rt.Logger.With("consumer", reg.Name(), "group", c.GroupID),
	}
	teardowns, err := setUp(ctx, rt, o.setups)
	if err != nil {
		t.Fatal(errors.Join(err, tearDown(ctx, teardowns)))
	}
	instance, err := reg.New(rt)
	if err != nil {
		t.Fatalf("constructor: %v", errors.Join(err, tearDown(ctx, teardowns)))
	}
	noMistakes(t) // of the constructor
	assignment := racecar.Assignment{Partitions: partitionsOf(messages)}
	if h, ok := instance.(racecar.AssignmentHook); ok {
		h.OnPartitionsAssigned(ctx, assignment)
	}
	result := Result{Errors: make([]error, len(messages))}
	r := run{out: out, rt: rt, ctx: ctx, anySpec: o.spec == nil, messages: messages, errs: result.Errors}
	r.calls(t, instance, reg.Batch(), slices.Concat(o.middlewares, reg.Spec().Use))
	if h, ok := instance.(racecar.RevocationHook); ok {
		h.OnPartitionsRevoked(ctx, assignment)
	}
	if h, ok := instance.(racecar.TeardownHook); ok {
		result.TeardownErr = h.Teardown(ctx)
	}
	if err := tearDown(ctx, teardowns); err != nil {
		result.TeardownErr = errors.Join(result.TeardownErr, err)
	}
	result.Produced = Produced(rt)
	return result
}

// setUp runs the functions given to racecar.Setup and returns their teardowns, those of the
// functions before one that fails as well.
func setUp(ctx context.Context, rt racecar.Runtime, setups []registered.Setup) (teardowns []func(context.Context) error, err error) {
	for _, s := range setups {
		teardown, err := s.Run(ctx, rt)
		if err != nil {
			return teardowns, fmt.Errorf("setup at %s: %w", s.Line, err)
		}
		if teardown != nil {
			teardowns = append(teardowns, teardown)
		}
	}
	return teardowns, nil
}

// tearDown calls teardowns in reverse order.
func tearDown(ctx context.Context, teardowns []func(context.Context) error) error {
	var errs []error
	for _, f := range slices.Backward(teardowns) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// run is a call of Run.
type run struct {
	out      *recorder
	rt       racecar.Runtime
	ctx      *calllog.Parent
	anySpec  bool // the consumer's own is not known
	messages []*racecar.Message
	errs     []error // of messages, by index
}

// calls hands all messages to an instance.
func (r *run) calls(t testing.TB, instance any, batch bool, middlewares []func(racecar.Handler) racecar.Handler) {
	t.Helper()
	if batch {
		c, err := middleware.BatchProcessor(instance.(racecar.BatchProcessor), middlewares)
		if err != nil {
			t.Fatal(err)
		}
		r.batches(c)
		return
	}
	c, err := middleware.Processor(instance.(racecar.Processor), middlewares)
	if err != nil {
		t.Fatal(err)
	}
	r.each(c)
}

// process calls c with m, in a span if there is a tracer.
func (r *run) process(c racecar.Processor, m *racecar.Message) (err error) {
	calls := calllog.NewCalls(r.ctx, []racecar.Message{*m})
	var ctx context.Context = calls.Next()
	if t := r.ctx.Tracer; t != nil {
		var end func(error)
		ctx, end = t.ProcessMessage(ctx, r.rt.Worker, m)
		defer func() { end(err) }()
	}
	return c.Process(ctx, m)
}

// processBatch is process for a batch.
func (r *run) processBatch(c racecar.BatchProcessor, batch []*racecar.Message) (err error) {
	var ctx context.Context = calllog.NewBatch(r.ctx, batch)
	if t := r.ctx.Tracer; t != nil {
		var end func(error)
		ctx, end = t.ProcessBatch(ctx, r.rt.Worker, batch)
		defer func() { end(err) }()
	}
	return c.ProcessBatch(ctx, batch)
}

// each calls c for each message.
func (r *run) each(c racecar.Processor) {
	for i, m := range r.messages {
		err := r.out.call(func() error { return r.process(c, received(m)) })
		if r.errs[i] = err; !r.done(err) {
			r.out.abort()
		}
	}
}

// batches calls c for each run of messages of one partition, at most fetch_messages of
// them at a time.
func (r *run) batches(c racecar.BatchProcessor) {
	most := r.rt.Config.FetchMessages
	for start := 0; start < len(r.messages); {
		batch := r.batch(start, most)
		most = r.rt.Config.FetchMessages
		n := len(batch)
		err := r.out.call(func() error { return r.processBatch(c, batch) })
		failed, end := start, start+n
		if at, ok := failedAt(err); ok && (at < 0 || at >= n) {
			err = outOfRange(err, n)
		} else if ok {
			done := r.done(err)
			if r.out.inTransaction() && n > 1 && (at > 0 || done) {
				r.out.abort()
				most = max(1, at) // the messages that are done, by themselves
				continue
			}
			failed = start + at
			if done {
				end = failed + 1 // that one alone: the messages behind it are the next batch
			}
		}
		if !r.done(err) {
			r.out.abort()
		}
		for i := failed; i < end; i++ {
			r.errs[i] = err
		}
		start = end
	}
}

// batch returns the messages from start on that a worker hands over together, copied.
func (r *run) batch(start, most int) []*racecar.Message {
	first := r.messages[start]
	var batch []*racecar.Message
	for _, m := range r.messages[start:min(start+most, len(r.messages))] {
		if m.Topic != first.Topic || m.Partition != first.Partition {
			break
		}
		batch = append(batch, received(m))
	}
	return batch
}

// done reports whether a worker goes on behind the messages that err is about: it
// commits their offset and output.
func (r *run) done(err error) bool {
	switch VerdictOf(err) {
	case Processed, Skipped:
		return true
	case DeadLettered:
		return r.rt.Config.DeadLetterTopic != "" || r.anySpec
	}
	return false
}

// received returns a copy of m for one call, which may change it: a worker hands a message over
// again as it was received.
func received(m *racecar.Message) *racecar.Message {
	own := *m
	own.Key, own.Value, own.Headers = bytes.Clone(m.Key), bytes.Clone(m.Value), slices.Clone(m.Headers)
	for i, h := range own.Headers {
		own.Headers[i].Value = bytes.Clone(h.Value)
	}
	return &own
}

func partitionsOf(messages []*racecar.Message) map[string][]int32 {
	all := map[string][]int32{}
	for _, m := range messages {
		if !slices.Contains(all[m.Topic], m.Partition) {
			all[m.Topic] = append(all[m.Topic], m.Partition)
		}
	}
	for _, p := range all {
		slices.Sort(p)
	}
	return all
}
