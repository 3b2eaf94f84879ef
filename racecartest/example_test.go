package racecartest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/racecartest"
)

// GreetingConsumer produces a greeting for each name.
type GreetingConsumer struct{ out racecar.Producer }

func NewGreetingConsumer(rt racecar.Runtime) (*GreetingConsumer, error) {
	return &GreetingConsumer{out: rt.Producer}, nil
}

func (c *GreetingConsumer) Process(ctx context.Context, m *racecar.Message) error {
	if len(m.Value) == 0 {
		return racecar.Skip(errors.New("nobody to greet"))
	}
	return c.out.Produce(ctx, racecar.ProducerMessage{Topic: "greetings", Value: append([]byte("Hello "), m.Value...)})
}

// exampleT replaces the *testing.T that a test has and an example does not.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper()                        {}
func (*exampleT) Context() context.Context       { return context.Background() }
func (*exampleT) Log(...any)                     {}
func (*exampleT) Error(a ...any)                 { fmt.Println(a...) }
func (*exampleT) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }
func (*exampleT) Fatal(a ...any)                 { panic(fmt.Sprint(a...)) }
func (*exampleT) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (t *exampleT) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }

// finish runs the cleanups, as the end of a test does.
func (t *exampleT) finish() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

func ExampleRun() {
	t := &exampleT{} // in a test: func TestGreeting(t *testing.T)
	defer t.finish()

	result := racecartest.Run(t, NewGreetingConsumer, []*racecar.Message{
		{Value: []byte("Ada")},
		{},
	})
	fmt.Printf("%s\n", result.Produced[0].Value)
	for _, err := range result.Errors {
		fmt.Println(racecartest.VerdictOf(err))
	}
	// Output:
	// Hello Ada
	// processed
	// skipped
}

// A constructor's runtime whose producer records.
func ExampleRuntime() {
	t := &exampleT{} // in a test: func TestGreeting(t *testing.T)
	defer t.finish()

	rt := racecartest.Runtime(t)
	c, err := NewGreetingConsumer(rt)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(c.Process(t.Context(), &racecar.Message{Value: []byte("Grace")}))
	fmt.Printf("%s\n", racecartest.Produced(rt)[0].Value)
	// Output:
	// <nil>
	// Hello Grace
}

// A broker in the test's process, without a worker.
func ExampleNewBroker() {
	t := &exampleT{} // in a test: func TestArchive(t *testing.T)
	defer t.finish()

	b := racecartest.NewBroker(t)
	b.Topic("names", 1)
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Ada")}, racecar.ProducerMessage{Topic: "names"})
	for _, m := range b.Messages("names") {
		fmt.Printf("%d %q\n", m.Offset, m.Value)
	}
	// Output:
	// 0 "Ada"
	// 1 ""
}

// A real worker: the first message fails once and the group rebalances, and still each greeting
// is there once.
func ExampleRunWorker() {
	t := &exampleT{} // in a test: func TestGreetingsSurviveARebalance(t *testing.T)
	defer t.finish()

	b := racecartest.NewBroker(t)
	b.Topic("names", 1)
	w := racecartest.RunWorker(t, b, NewGreetingConsumer, racecartest.WithSpec(racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "names"}},
	}))
	w.FailNext(1, errors.New("a bad day"))
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Ada")})
	w.WaitProcessed(1)
	w.Rebalance()
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Grace")})
	b.WaitConsumed("greeting-consumer", "names")
	var greetings []string
	for _, m := range b.WaitMessages("greetings", 2) { // ordered by partition
		greetings = append(greetings, string(m.Value))
	}
	slices.Sort(greetings)
	fmt.Println(greetings)

	failed := racecartest.WaitFor(w, func(e event.ProcessMessage) bool { return e.Err != nil })
	fmt.Println("failed once:", failed.Err)
	w.Stop()
	// Output:
	// [Hello Ada Hello Grace]
	// failed once: a bad day
}

// An outage: while the database is away no message is lost, retried or dead-lettered, and
// afterwards each is processed.
func ExampleWorker_FailAll() {
	t := &exampleT{} // in a test: func TestGreetingsWaitForTheDatabase(t *testing.T)
	defer t.finish()

	b := racecartest.NewBroker(t)
	b.Topic("names", 1)
	w := racecartest.RunWorker(t, b, NewGreetingConsumer, racecartest.WithSpec(racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "names"}},
		MaxRetries:    3,
	}))
	back := w.FailAll(racecar.Unavailable(errors.New("connection refused"), "db"))
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Ada")})
	outage := racecartest.WaitFor[event.OutageStarted](w, nil)
	fmt.Println(outage.Dependency, "is away:", outage.Err)

	back()
	racecartest.WaitFor[event.OutageEnded](w, nil)
	fmt.Printf("%s\n", b.WaitMessages("greetings", 1)[0].Value)
	w.Stop()
	// Output:
	// db is away: connection refused
	// Hello Ada
}
