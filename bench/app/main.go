// The benchmark's application of racecar: an app binary like any other, run by its supervisor.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/racecar-go/racecar/bench/board"
	"github.com/racecar-go/racecar/cli"
	"github.com/racecar-go/racecar/racecar"
)

var task = board.FromEnv()

func main() {
	if strings.HasPrefix(task.Mode, "produce") && len(os.Args) == 1 {
		if err := produce(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	cli.Main()
}

func init() {
	racecar.Configure(func(c *racecar.Config) error {
		c.ProducerCompressionCodec = task.Codec
		return nil
	})
	topic := task.Topic
	if topic == "" {
		topic = "bench" // for --help, or if it only produces
	}
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}
	register(spec, "Count", func(c *base) *count { return &count{c} })
	register(spec, "CountBatch", func(c *base) *countBatch { return &countBatch{base: c} })
	register(spec, "Copy", func(c *base) *copyAll { return &copyAll{base: c} })
	register(spec, "CopyDeliver", func(c *base) *copyAll { return &copyAll{base: c, deliver: true} })
	register(spec, "Stall", func(*base) *stall { return &stall{} })
	register(spec, "StallBatch", func(*base) *stallBatch { return &stallBatch{} })
	register(spec, "Latency", func(c *base) *latency { return &latency{c} })
	spec.Transactional = true
	register(spec, "CopyTransactional", func(c *base) *copyAll { return &copyAll{base: c} })
	spec.Transactional, spec.Concurrency = false, 2
	register(spec, "SlowFirst", func(c *base) *slowFirst { return &slowFirst{c} })
}

// register registers a consumer that embeds base.
func register[C any](spec racecar.Spec, name string, of func(*base) C) {
	spec.Name = name
	racecar.Register(func(rt racecar.Runtime) (C, error) {
		b, err := board.Open(task.Path)
		if err != nil {
			var none C
			return none, err
		}
		profiled, err := board.Profile("racecar")
		if err != nil {
			var none C
			return none, err
		}
		c := &base{profiled: profiled, board: b, out: rt.Producer, pid: os.Getpid(), stop: make(chan struct{})}
		go b.Watch(c.stop)
		return of(c), nil
	}, spec)
}

type base struct {
	board *board.Board
	out   racecar.Producer
	pid   int
	stop  chan struct{}

	profiled func() error
}

func (c *base) Teardown(context.Context) error {
	close(c.stop)
	return c.profiled()
}

type count struct{ *base }

func (c *count) Process(_ context.Context, m *racecar.Message) error {
	c.board.Count(m.Partition, 1)
	c.board.Own(m.Partition, c.pid)
	return nil
}

type countBatch struct{ *base }

func (c *countBatch) ProcessBatch(_ context.Context, ms []*racecar.Message) error {
	c.board.Count(ms[0].Partition, len(ms))
	return nil
}

type copyAll struct {
	*base
	deliver bool
}

func (c *copyAll) Process(ctx context.Context, m *racecar.Message) error {
	err := c.out.Produce(ctx, racecar.ProducerMessage{Topic: task.Out, Key: m.Key, Value: m.Value})
	if err == nil && c.deliver {
		err = c.out.Deliver(ctx)
	}
	c.board.Count(m.Partition, 1)
	return err
}

// stall never returns before it has to.
type stall struct{}

func (*stall) Process(ctx context.Context, _ *racecar.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

type stallBatch struct{}

func (*stallBatch) ProcessBatch(ctx context.Context, _ []*racecar.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

type latency struct{ *base }

func (c *latency) Process(_ context.Context, m *racecar.Message) error {
	c.board.Late(time.Duration(time.Now().UnixNano() - int64(binary.LittleEndian.Uint64(m.Value))))
	c.board.Count(m.Partition, 1)
	return nil
}

type slowFirst struct{ *base }

func (c *slowFirst) Process(ctx context.Context, m *racecar.Message) error {
	if m.Partition == 0 {
		select {
		case <-time.After(task.Delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.board.Count(m.Partition, 1)
	return nil
}
