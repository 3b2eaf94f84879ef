package racecar_test

import (
	"context"
	"fmt"

	"github.com/racecar-go/racecar/racecar"
)

// GreetConsumer greets whoever is named.
type GreetConsumer struct{ out racecar.Producer }

// Process queues a greeting. It need not wait for Kafka: the offset of m is committed only when
// the greeting is acknowledged, and m is processed again if the greeting cannot be delivered.
func (c *GreetConsumer) Process(ctx context.Context, m *racecar.Message) error {
	return c.out.Produce(ctx, racecar.ProducerMessage{
		Topic:   "greetings",
		Key:     m.Key,
		Value:   fmt.Appendf(nil, "Hello %s", m.Value),
		Headers: []racecar.Header{{Key: "language", Value: []byte("en")}},
	})
}

// printer stands for the worker's producer, Runtime.Producer.
type printer struct{}

func (printer) Produce(ctx context.Context, m racecar.ProducerMessage) error {
	fmt.Printf("%s: %s\n", m.Topic, m.Value)
	return nil
}

func (printer) Deliver(ctx context.Context) error { return nil }

// A consumer that produces.
func ExampleProducer() {
	c := &GreetConsumer{out: printer{}}
	if err := c.Process(context.Background(), &racecar.Message{Value: []byte("Ada")}); err != nil {
		fmt.Println(err)
	}
	// Output: greetings: Hello Ada
}
