package main

import (
	"context"

	"github.com/racecar-go/racecar/bench/board"
	"github.com/racecar-go/racecar/racecar"
)

// produce sends messages with a standalone producer, as its documentation shows.
func produce() (err error) {
	b, err := board.Open(task.Path)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go b.Watch(stop)
	ctx := context.Background()
	p, err := racecar.OpenProducer(ctx, func(c *racecar.Config) error {
		c.Brokers, c.ProducerCompressionCodec = task.Brokers, task.Codec
		return nil
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := p.Close(ctx); err == nil {
			err = closeErr
		}
	}()
	value := make([]byte, task.Size)
	if task.Mode == "produce-sync" {
		for range task.Messages {
			if err := p.ProduceSync(ctx, racecar.ProducerMessage{Topic: task.Out, Value: value}); err != nil {
				return err
			}
			b.Count(0, 1)
		}
		return nil
	}
	return p.WaitForDelivery(ctx, func(ctx context.Context) error {
		for range task.Messages {
			if err := p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: task.Out, Value: value}); err != nil {
				return err
			}
		}
		return nil
	})
}
