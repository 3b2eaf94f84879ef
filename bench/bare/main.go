// The loop that sarama's documentation shows, and other loops that one would write with sarama,
// at its defaults.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/bench/board"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, board.FromEnv()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, task board.Task) (err error) {
	b, err := board.Open(task.Path)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go b.Watch(stop)
	profiled, err := board.Profile("sarama")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profiled()) }()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	switch task.Mode {
	case "produce-sync":
		return produceSync(task, b, conf)
	case "produce":
		return produce(task, conf)
	}
	h := &handler{board: b, task: task}
	if task.Mode == "copy" {
		if h.producer, err = sarama.NewAsyncProducer(task.Brokers, conf); err != nil {
			return err
		}
		go func() {
			for err := range h.producer.Errors() {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
		defer h.producer.Close()
	}
	group, err := sarama.NewConsumerGroup(task.Brokers, task.Group, conf)
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		err := group.Consume(ctx, []string{task.Topic}, h)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return err
		}
	}
}

type handler struct {
	board    *board.Board
	task     board.Task
	producer sarama.AsyncProducer
}

func (*handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *handler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	switch h.task.Mode {
	case "process":
		for m := range c.Messages() {
			h.board.Count(m.Partition, 1)
			s.MarkMessage(m, "")
		}
	case "copy":
		for m := range c.Messages() {
			h.producer.Input() <- &sarama.ProducerMessage{Topic: h.task.Out, Key: encoder(m.Key), Value: encoder(m.Value)}
			h.board.Count(m.Partition, 1)
			s.MarkMessage(m, "")
		}
	case "latency":
		for m := range c.Messages() {
			h.board.Late(time.Duration(time.Now().UnixNano() - int64(binary.LittleEndian.Uint64(m.Value))))
			h.board.Count(m.Partition, 1)
			s.MarkMessage(m, "")
		}
	case "slow":
		for m := range c.Messages() {
			if m.Partition == 0 {
				select {
				case <-time.After(h.task.Delay):
				case <-s.Context().Done():
					return nil
				}
			}
			h.board.Count(m.Partition, 1)
			s.MarkMessage(m, "")
		}
	default:
		return fmt.Errorf("no mode is called %q", h.task.Mode)
	}
	return nil
}

func encoder(b []byte) sarama.Encoder {
	if b == nil {
		return nil
	}
	return sarama.ByteEncoder(b)
}

func produce(task board.Task, conf *sarama.Config) error {
	conf.Producer.RequiredAcks = sarama.WaitForAll // like all contestants
	p, err := sarama.NewAsyncProducer(task.Brokers, conf)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		var first error
		for err := range p.Errors() {
			if first == nil {
				first = err
			}
		}
		failed <- first
	}()
	value := sarama.ByteEncoder(make([]byte, task.Size))
	for range task.Messages {
		p.Input() <- &sarama.ProducerMessage{Topic: task.Out, Value: value}
	}
	p.AsyncClose()
	return <-failed
}

func produceSync(task board.Task, b *board.Board, conf *sarama.Config) error {
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes = true
	p, err := sarama.NewSyncProducer(task.Brokers, conf)
	if err != nil {
		return err
	}
	defer p.Close()
	value := sarama.ByteEncoder(make([]byte, task.Size))
	for range task.Messages {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: task.Out, Value: value}); err != nil {
			return err
		}
		b.Count(0, 1)
	}
	return nil
}
