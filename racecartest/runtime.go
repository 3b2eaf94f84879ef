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
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

func init() { callctx.InTests.Store(true) }

// Runtime returns what a constructor is given, for a test without a broker: its
// Producer records (see Produced), its Logger writes to the test's log, its
// Config has the defaults and what racecar.Configure sets.
func Runtime(t testing.TB) racecar.Runtime {
	t.Helper()
	noMistakes(t)
	return runtimeOf(t, configured(t))
}

func runtimeOf(t testing.TB, c config.Config) racecar.Runtime {
	return racecar.Runtime{
		Producer: &recorder{config: &c},
		Logger:   slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Worker:   racecar.Worker{Consumer: "Test", Group: "test"},
		Config:   &c,
	}
}

// configured is the configuration of a test: file and environment are not read.
func configured(t testing.TB) config.Config {
	t.Helper()
	loaded, err := config.Load(config.Options{NoFile: true, Configure: registered.Configures()})
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Config
}

// Produced returns what was produced so far with a Runtime of this package, in
// order. It panics for any other Runtime.
func Produced(rt racecar.Runtime) []racecar.ProducerMessage {
	r := rt.Producer.(*recorder)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// recorder is a producer whose messages are acknowledged at once.
type recorder struct {
	config   *config.Config
	mu       sync.Mutex
	messages []racecar.ProducerMessage
	refused  error // what a broker refuses later fails the call, though it ignored the error
}

func (r *recorder) Produce(ctx context.Context, m racecar.ProducerMessage) error {
	err := r.ProduceSync(ctx, m)
	if m.Topic != "" && !config.ValidTopic(m.Topic) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused = errors.Join(r.refused, err)
	}
	return err
}

// failed is the error of a call that returned err.
func (r *recorder) failed(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil {
		err, r.refused = r.refused, nil
	}
	return err
}

// ProduceSync, ProduceAsync and WaitForDelivery are the default producer's for calls of
// a consumer under test.
func (r *recorder) ProduceSync(ctx context.Context, m racecar.ProducerMessage) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	// As the real ones: what they refuse is refused, and the author's buffers may be
	// used again.
	k := kafka.ProducerMessage{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value, PartitionKey: m.PartitionKey, Timestamp: m.Timestamp}
	for _, h := range m.Headers {
		k.Headers = append(k.Headers, kafka.Header(h))
	}
	if err := kafka.CheckMessage(k, r.config); err != nil {
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
	r.mu.Lock()
	defer r.mu.Unlock()
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

// Result is what came of the messages given to Run.
type Result struct {
	// Produced is all that was produced, in order.
	Produced []racecar.ProducerMessage
	// Errors has the error of each message, in the order they were given; nil:
	// processed. VerdictOf says what a worker would make of it. A batch's error is
	// that of each of its messages; with racecar.FailedAt of those from there on, or,
	// where it says Skip or DeadLetter, of that one alone.
	Errors []error
	// TeardownErr is Teardown's error.
	TeardownErr error
}

// Err returns all errors as one, nil when there is none.
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

// noMistakes fails the test when the program that is tested has registered a consumer
// that cannot be run.
func noMistakes(t testing.TB) {
	t.Helper()
	if err := errors.Join(registered.Mistakes()...); err != nil {
		t.Fatal(err)
	}
}

// Run makes a consumer and hands it messages as a worker does, without a broker:
// assignment, each message once, in order, revocation, teardown. A
// BatchProcessor is given those that follow one another in one partition
// together, up to fetch_messages at a time. What a producer refuses in production
// (racecar.ProduceSync and its like included) is refused here. The test fails when the
// constructor does; an error of a call is in the Result; a panic is the test's.
//
// Each message is handed over whatever became of those before it, also behind one whose
// error a worker would retry or end at. Run does not know the consumer's Spec: Produced
// has the output of failed calls too, which a worker drops for a Transactional consumer.
// What a topic's partitions or a broker's limits refuse only shows in RunWorker.
func Run[C any](t testing.TB, new func(racecar.Runtime) (C, error), messages ...*racecar.Message) Result {
	t.Helper()
	reg, err := racecar.NewRegistration(new, racecar.Spec{Name: "Test", Subscriptions: []racecar.Subscription{{TopicPattern: ".*"}}})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.Index(messages, nil); i >= 0 {
		t.Fatalf("message %d of %d is nil", i, len(messages))
	}
	noMistakes(t)
	c := configured(t)
	rt := runtimeOf(t, c)
	instance, err := reg.New(rt)
	if err != nil {
		t.Fatalf("constructor: %v", err)
	}
	ctx := callctx.WithProducer(t.Context(), rt.Producer)
	assignment := racecar.Assignment{Partitions: partitionsOf(messages)}
	if h, ok := instance.(racecar.AssignmentHook); ok {
		h.OnPartitionsAssigned(ctx, assignment)
	}
	out := rt.Producer.(*recorder)
	out.refused = nil // what the constructor and hooks produced is no call's
	result := Result{Errors: make([]error, len(messages))}
	if reg.Batch() {
		runBatches(ctx, instance.(racecar.BatchProcessor), out, messages, result.Errors, c.FetchMessages)
	} else {
		for i, m := range messages {
			result.Errors[i] = out.failed(instance.(racecar.Processor).Process(ctx, received(m)))
		}
	}
	if h, ok := instance.(racecar.RevocationHook); ok {
		h.OnPartitionsRevoked(ctx, assignment)
	}
	if h, ok := instance.(racecar.TeardownHook); ok {
		result.TeardownErr = h.Teardown(ctx)
	}
	result.Produced = Produced(rt)
	return result
}

// runBatches calls c for each run of messages of one partition, at most of them at a
// time.
func runBatches(ctx context.Context, c racecar.BatchProcessor, out *recorder, messages []*racecar.Message, errs []error, most int) {
	for start := 0; start < len(messages); {
		end := start + 1
		for end < len(messages) && end-start < most && messages[end].Topic == messages[start].Topic && messages[end].Partition == messages[start].Partition {
			end++
		}
		batch := make([]*racecar.Message, end-start)
		for i := range batch {
			batch[i] = received(messages[start+i])
		}
		err := out.failed(c.ProcessBatch(ctx, batch))
		failed := start
		if at, ok := failedAt(err); ok && (at < 0 || at >= end-start) {
			err = outside(err, end-start)
		} else if ok {
			failed = start + at
			if v := VerdictOf(err); v == Skipped || v == DeadLettered {
				end = failed + 1 // that one alone: those behind it are the next batch
			}
		}
		for i := failed; i < end; i++ {
			errs[i] = err
		}
		start = end
	}
}

// received is m for one call, which may change it: a worker hands a message over again as
// it was received.
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
