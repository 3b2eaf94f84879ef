package worker

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// BenchmarkConsume compares a bare sarama loop with a worker, side by side.
func BenchmarkConsume(b *testing.B) {
	n := 400_000
	if s := os.Getenv("BENCH_MESSAGES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	const partitions = 8
	broker := testbroker.New(b)
	topic := broker.Topic(partitions)
	fill(b, broker, topic, partitions, n)
	b.Run("sarama", func(b *testing.B) {
		for range b.N {
			began, cpu := time.Now(), cpuTime()
			bareLoop(b, broker, topic, n)
			b.ReportMetric(float64(n)/time.Since(began).Seconds(), "msgs/s")
			b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/msg")
		}
	})
	passOn := func(next racecar.Handler) racecar.Handler {
		return func(ctx context.Context, ms []*racecar.Message) error { return next(ctx, ms) }
	}
	for _, use := range [][]func(racecar.Handler) racecar.Handler{nil, {passOn}} {
		b.Run(fmt.Sprintf("worker with %d middlewares", len(use)), func(b *testing.B) {
			for range b.N {
				began, cpu := time.Now(), cpuTime()
				workerLoop(b, broker, topic, n, use)
				b.ReportMetric(float64(n)/time.Since(began).Seconds(), "msgs/s")
				b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/msg")
			}
		})
	}
}

// BenchmarkQuantum is the scheduler's share of a quantum: of so many partitions 10 have
// messages.
func BenchmarkQuantum(b *testing.B) {
	for _, partitions := range []int{10, 1000, 10_000} {
		b.Run(strconv.Itoa(partitions)+" partitions", func(b *testing.B) {
			t := newScheduler(1, false, limits{decoded: 1 << 20, fetched: 1 << 20})
			for n := range partitions {
				messages := 0
				if n%(partitions/10) == 0 {
					messages = 10
				}
				supplied(t, topicPartition{"t", int32(n)}, messages)
			}
			b.ReportAllocs()
			for b.Loop() {
				p, _ := t.take()
				t.release(p)
			}
		})
	}
}

// cpuTime is what this process has used, which other load on the machine disturbs
// less than the time it took.
func cpuTime() time.Duration {
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func fill(b testing.TB, broker *testbroker.Broker, topic string, partitions, n int) {
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Flush.MaxMessages = 5000
	conf.Producer.Flush.Frequency = 20 * time.Millisecond
	p, err := sarama.NewAsyncProducer(broker.Addrs(), conf)
	if err != nil {
		b.Fatal(err)
	}
	value := sarama.ByteEncoder(make([]byte, 200))
	for i := range n {
		p.Input() <- &sarama.ProducerMessage{Topic: topic, Partition: int32(i % partitions), Value: value}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}

type bare struct {
	n    atomic.Int64
	want int64
	done chan struct{}
}

func (*bare) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*bare) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *bare) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for m := range c.Messages() {
		s.MarkMessage(m, "")
		if h.n.Add(1) == h.want {
			close(h.done)
		}
	}
	return nil
}

func bareLoop(b *testing.B, broker *testbroker.Broker, topic string, n int) {
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	g, err := sarama.NewConsumerGroup(broker.Addrs(), broker.Group(), conf)
	if err != nil {
		b.Fatal(err)
	}
	h := &bare{want: int64(n), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Consume(ctx, []string{topic}, h) }()
	<-h.done
	b.StopTimer()
	cancel()
	<-ended
	_ = g.Close()
	b.StartTimer()
}

func workerLoop(b *testing.B, broker *testbroker.Broker, topic string, n int, use []func(racecar.Handler) racecar.Handler) {
	var count int
	done := make(chan struct{})
	reg := registration(b, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Use: use}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(context.Context, *racecar.Message) error {
			count++
			if count == n {
				close(done)
			}
			return nil
		}}, nil
	})
	cfg := testConfig(broker, broker.Group())
	cfg.HeartbeatInterval, cfg.MaxWaitTime, cfg.OffsetCommitInterval = time.Second, time.Second, 10*time.Second
	s := start(b, reg, cfg, func(o *Options) { o.Log.SetLevel(benchLevel()) })
	<-done
	b.StopTimer()
	if code := s.stop(); code != wire.ExitOK {
		b.Errorf("exit code %d", code)
	}
	b.StartTimer()
}

// benchLevel keeps the log out of the measurement, unless it is asked for.
func benchLevel() logrus.Level {
	if level, err := logrus.ParseLevel(os.Getenv("BENCH_LOG")); err == nil {
		return level
	}
	return logrus.ErrorLevel
}
