package racecartest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// GreetingConsumer greets whoever is named.
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

// t stands for the test's in the examples.
var t *testing.T

func ExampleRun() {
	// func TestGreeting(t *testing.T) {
	result := racecartest.Run(t, NewGreetingConsumer,
		&racecar.Message{Value: []byte("Ada")},
		&racecar.Message{},
	)
	if got := string(result.Produced[0].Value); got != "Hello Ada" {
		t.Errorf("greeted with %q", got)
	}
	if racecartest.VerdictOf(result.Errors[1]) != racecartest.Skipped {
		t.Errorf("nobody was not skipped: %v", result.Errors[1])
	}
}

func ExampleRunWorker() {
	// func TestGreetingsSurviveARebalance(t *testing.T) {
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, NewGreetingConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "names"}},
	})
	w.FailNext(1, errors.New("a bad day")) // the first is tried again
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Ada")})
	w.Rebalance()
	b.WaitMessages("greetings", 1)
	b.WaitConsumed("greeting-consumer", "names")
	w.Stop()
}
