package racecartest_test

import (
	"errors"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// The examples have no test to run in; here they have one.
func TestTheExamples(test *testing.T) {
	result := racecartest.Run(test, NewGreetingConsumer, &racecar.Message{Value: []byte("Ada")}, &racecar.Message{})
	if got := string(result.Produced[0].Value); got != "Hello Ada" {
		test.Errorf("greeted with %q", got)
	}
	if racecartest.VerdictOf(result.Errors[1]) != racecartest.Skipped {
		test.Errorf("nobody was not skipped: %v", result.Errors[1])
	}
	b := racecartest.NewBroker(test)
	w := racecartest.RunWorker(test, b, NewGreetingConsumer, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "names"}}})
	w.FailNext(1, errors.New("a bad day"))
	b.Produce(racecar.ProducerMessage{Topic: "names", Value: []byte("Ada")})
	w.Rebalance()
	b.WaitMessages("greetings", 1)
	b.WaitConsumed("greeting-consumer", "names")
	w.Stop()
}
