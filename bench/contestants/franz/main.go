// The poll loop that franz-go's documentation shows, at its defaults.
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

	"github.com/twmb/franz-go/pkg/kgo"

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
	profiled, err := board.Profile("franz")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profiled()) }()
	switch task.Mode {
	case "produce", "produce-sync":
		return produce(ctx, task, b)
	case "copy-txn":
		return transactions(ctx, task, b)
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(task.Brokers...), kgo.ConsumerGroup(task.Group), kgo.ConsumeTopics(task.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), compression(task),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("%s: %w", errs[0].Topic, errs[0].Err)
		}
		if err := take(ctx, cl, task, b, fetches); err != nil {
			return err
		}
	}
}

func take(ctx context.Context, cl *kgo.Client, task board.Task, b *board.Board, fetches kgo.Fetches) error {
	switch task.Mode {
	case "process":
		fetches.EachRecord(func(r *kgo.Record) { b.Count(r.Partition, 1) })
	case "batch":
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { b.Count(p.Partition, len(p.Records)) })
	case "copy":
		fetches.EachRecord(func(r *kgo.Record) {
			cl.Produce(ctx, &kgo.Record{Topic: task.Out, Key: r.Key, Value: r.Value}, nil)
			b.Count(r.Partition, 1)
		})
	case "latency":
		fetches.EachRecord(func(r *kgo.Record) {
			b.Late(time.Duration(time.Now().UnixNano() - int64(binary.LittleEndian.Uint64(r.Value))))
			b.Count(r.Partition, 1)
		})
	default:
		return fmt.Errorf("no mode is called %q", task.Mode)
	}
	return nil
}

// compression is that of the others; franz-go's default is snappy.
func compression(task board.Task) kgo.Opt {
	codecs := map[string]kgo.CompressionCodec{"": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	return kgo.ProducerBatchCompression(codecs[task.Codec])
}

func produce(ctx context.Context, task board.Task, b *board.Board) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(task.Brokers...), compression(task))
	if err != nil {
		return err
	}
	defer cl.Close()
	value := make([]byte, task.Size)
	if task.Mode == "produce-sync" {
		for range task.Messages {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: task.Out, Value: value}).FirstErr(); err != nil {
				return err
			}
			b.Count(0, 1)
		}
		return nil
	}
	for range task.Messages {
		cl.Produce(ctx, &kgo.Record{Topic: task.Out, Value: value}, nil)
	}
	return cl.Flush(ctx)
}

// transactions are one for each poll, as the documentation of GroupTransactSession
// shows.
func transactions(ctx context.Context, task board.Task, b *board.Board) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(task.Brokers...), kgo.ConsumerGroup(task.Group), kgo.ConsumeTopics(task.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionalID(task.Group),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), compression(task),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	for {
		fetches := session.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("%s: %w", errs[0].Topic, errs[0].Err)
		}
		if err := session.Begin(); err != nil {
			return err
		}
		promise := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Topic: task.Out, Key: r.Key, Value: r.Value}, promise.Promise())
			b.Count(r.Partition, 1)
		})
		if _, err := session.End(context.WithoutCancel(ctx), promise.Err() == nil); err != nil {
			return err
		}
	}
}
