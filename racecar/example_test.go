package racecar_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/racecartest"
)

// What a consumer can return, and what happens to the message.
func ExampleSkip() {
	err := errors.New("a bad day")
	for _, returned := range []error{
		nil,
		err,
		racecar.RetryAfter(err, time.Minute),
		racecar.Skip(err),
		racecar.DeadLetter(err),
		racecar.Fatal(err),
	} {
		fmt.Println(racecartest.VerdictOf(returned))
	}
	// Output:
	// processed
	// retried
	// retried
	// skipped
	// dead-lettered
	// fatal
}

// RetryAfter is for services that say when to call them again.
func ExampleRetryAfter() {
	err := racecar.RetryAfter(errors.New("429 Too Many Requests"), 30*time.Second)
	pause, _ := racecartest.RetryAfter(err)
	fmt.Println(err, "- again in", pause)
	// Output: 429 Too Many Requests - again in 30s
}

func newPrinter(racecar.Runtime) (racecar.ProcessFunc, error) {
	return func(ctx context.Context, m *racecar.Message) error {
		fmt.Printf("%s\n", m.Value)
		return nil
	}, nil
}

func init() {
	racecar.Register(newPrinter, racecar.Spec{
		Name:          "PrintConsumer",
		Subscriptions: []racecar.Subscription{{Topic: "lines"}},
	})
}

// A function as a consumer. It has no type of its own to take the name from, so Spec.Name is
// set.
func ExampleProcessFunc() {
	print, _ := newPrinter(racecar.Runtime{})
	fmt.Println(print.Process(context.Background(), &racecar.Message{Value: []byte("hello")}))
	// Output:
	// hello
	// <nil>
}

// A long call that stops early when its partition is revoked or its worker stops. The message is
// handed over again, to the worker that has the partition then.
func ExampleLeaving() {
	process := func(ctx context.Context, m *racecar.Message) error {
		for step := range 3 {
			select {
			case <-racecar.Leaving(ctx):
				return errors.New("left off")
			default:
				fmt.Println("step", step)
			}
		}
		return nil
	}
	fmt.Println(process(context.Background(), &racecar.Message{}))
	// Output:
	// step 0
	// step 1
	// step 2
	// <nil>
}

// Headers are looked up by key; a header may have no value.
func ExampleMessage_Header() {
	m := &racecar.Message{Headers: []racecar.Header{{Key: "request-id", Value: []byte("4711")}, {Key: "traced"}}}
	id, ok := m.Header("request-id")
	fmt.Printf("%s %v\n", id, ok)
	_, ok = m.Header("traced")
	fmt.Println(ok)
	_, ok = m.Header("absent")
	fmt.Println(ok)
	// Output:
	// 4711 true
	// true
	// false
}

// All fields of a Spec. A field that is not set leaves its value to the configuration.
func ExampleSpec() {
	spec := racecar.Spec{
		Name:    "Billing::InvoiceConsumer", // any text: upstream's name keeps its group
		GroupID: "billing",
		Subscriptions: []racecar.Subscription{
			{Topic: "orders"},
			{TopicPattern: `orders\..+`, StartFrom: racecar.End},
		},
		ParallelWorkers: 3,                // processes
		Concurrency:     4,                // partitions at a time in each
		MaxRetries:      5,                // then the dead-letter topic
		PauseTimeout:    racecar.NoPause,  // between retries
		MaxPollInterval: 10 * time.Minute, // the longest call
		DeadLetterTopic: "billing-dead",   // else billing.dlq
	}
	fmt.Println(spec.Name, len(spec.Subscriptions))
	// Output: Billing::InvoiceConsumer 2
}

// Configuration in code, called from init: brokers from a lookup, and a function for errors.
// Variables and flags override it.
func ExampleConfigure() {
	racecar.Configure(func(c *racecar.Config) error {
		_, hosts, err := net.LookupSRV("kafka", "tcp", "example.com")
		for _, h := range hosts {
			c.Brokers = append(c.Brokers, fmt.Sprintf("%s:%d", h.Target, h.Port))
		}
		c.OnError = report
		return err
	})
}

// report is an error handler; see Config.OnError.
func report(ctx context.Context, err error, info racecar.ErrorInfo) {
	fmt.Printf("%s: %s/%d at %d, tried %d times: %v\n", info.Consumer, info.Topic, info.Partition, info.FirstOffset, info.Retries+1, err)
}

// The information that an error handler receives.
func ExampleErrorInfo() {
	report(context.Background(), errors.New("no such user"), racecar.ErrorInfo{
		Consumer: "BanConsumer", Group: "ban-consumer", Topic: "user_banned", Partition: 3,
		FirstOffset: 17, LastOffset: 17, Messages: 1, Retries: 2,
	})
	// Output: BanConsumer: user_banned/3 at 17, tried 3 times: no such user
}

// A subscriber to events, added from init. Package event has a type for each kind.
func ExampleObserve() {
	watch := func(e racecar.Event) {
		switch e := e.(type) {
		case event.ProcessMessage:
			fmt.Printf("%s took %v\n", e.EventName(), e.Duration)
		case event.DeadLetter:
			fmt.Printf("%s: offset %d, %v\n", e.EventName(), e.Message.Offset, e.Err)
		}
	}
	racecar.Observe(watch)
	// A worker calls it with:
	watch(event.ProcessMessage{Duration: 3 * time.Millisecond})
	watch(event.DeadLetter{Message: &racecar.Message{Offset: 42}, Err: errors.New("no value")})
	// Output:
	// process_message took 3ms
	// dead_letter: offset 42, no value
}
