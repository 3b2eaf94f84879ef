// The loop that confluent-kafka-go's documentation shows, at its defaults.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/racecar-go/racecar/bench/board"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if err := run(signals, board.FromEnv()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(signals <-chan os.Signal, task board.Task) error {
	b, err := board.Open(task.Path)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go b.Watch(stop)
	brokers := strings.Join(task.Brokers, ",")
	var p *kafka.Producer
	if task.Out != "" {
		if p, err = kafka.NewProducer(&kafka.ConfigMap{"bootstrap.servers": brokers}); err != nil {
			return err
		}
		defer p.Close()
	}
	if strings.HasPrefix(task.Mode, "produce") {
		return produce(p, task, b)
	}
	if p != nil {
		go func() {
			for range p.Events() {
			}
		}()
		defer p.Flush(10_000)
	}
	c, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": brokers, "group.id": task.Group, "auto.offset.reset": "earliest",
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SubscribeTopics([]string{task.Topic}, nil); err != nil {
		return err
	}
	for {
		select {
		case <-signals:
			return nil
		default:
		}
		m, err := c.ReadMessage(100 * time.Millisecond)
		if err != nil {
			if e := (kafka.Error{}); errors.As(err, &e) && e.IsTimeout() {
				continue
			}
			return err
		}
		switch task.Mode {
		case "process":
		case "latency":
			b.Late(time.Duration(time.Now().UnixNano() - int64(binary.LittleEndian.Uint64(m.Value))))
		case "copy":
			if err := send(p, task.Out, m.Key, m.Value, nil); err != nil {
				return err
			}
		default:
			return fmt.Errorf("no mode is called %q", task.Mode)
		}
		b.Count(m.TopicPartition.Partition, 1)
	}
}

// send waits while librdkafka's queue is full.
func send(p *kafka.Producer, topic string, key, value []byte, delivered chan kafka.Event) error {
	for {
		err := p.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Key: key, Value: value,
		}, delivered)
		if e := (kafka.Error{}); !errors.As(err, &e) || e.Code() != kafka.ErrQueueFull {
			return err
		}
		p.Flush(10)
	}
}

func produce(p *kafka.Producer, task board.Task, b *board.Board) error {
	value := make([]byte, task.Size)
	if task.Mode == "produce-sync" {
		delivered := make(chan kafka.Event, 1)
		for range task.Messages {
			if err := send(p, task.Out, nil, value, delivered); err != nil {
				return err
			}
			if m, ok := (<-delivered).(*kafka.Message); ok && m.TopicPartition.Error != nil {
				return m.TopicPartition.Error
			}
			b.Count(0, 1)
		}
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		for n := 0; n < task.Messages; {
			if m, ok := (<-p.Events()).(*kafka.Message); ok {
				if m.TopicPartition.Error != nil {
					ended <- m.TopicPartition.Error
					return
				}
				n++
			}
		}
		ended <- nil
	}()
	for range task.Messages {
		if err := send(p, task.Out, nil, value, nil); err != nil {
			return err
		}
	}
	return <-ended
}
