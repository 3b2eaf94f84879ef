package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// stalledEnv makes the test binary a worker whose handler never returns.
const stalledEnv = "TESTBED_STALLED"

func TestMain(m *testing.M) {
	if order := os.Getenv(stalledEnv); order != "" {
		os.Exit(stalled(order))
	}
	seeds.Parallel(8) // most tests wait: for joins, intervals and pauses
	os.Exit(m.Run())
}

// stalledOrder holds the settings of such a process.
type stalledOrder struct {
	Config config.WithSecrets
	Topic  string
}

func stalled(order string) int {
	var o stalledOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	racecar.Register(func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, _ *racecar.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil
	}, racecar.Spec{Name: "stalled", Subscriptions: []racecar.Subscription{{Topic: o.Topic}}})
	log := logrus.New()
	log.SetOutput(os.Stderr)
	return Run(context.Background(), Options{
		Handshake: wire.Handshake{Consumer: wire.Consumer{Name: "stalled", Config: config.Config(o.Config)}, Nonce: "n"},
		Lookup:    registered.Lookup,
		Log:       log,
	})
}

// 200 partitions of 1 MiB batches, compressed 20:1, and a handler that stalls: what
// a worker holds stays bounded. The best of three rounds counts: how much garbage
// there is beside that depends on when it was last collected.
func TestMemoryOfAStalledWorker(t *testing.T) {
	seeds.Measure(t)
	const partitions, batches = 200, 4
	b := testbroker.New(t)
	topic := b.Topic(partitions)
	compressed := fillCompressed(t, b, topic, partitions, batches)
	t.Logf("compressed %.1f : 1", float64(partitions*batches)*(1<<20)/float64(compressed))
	const limit = 60<<20 + 2*10<<20 + 20<<20 // and one fetch
	best := int64(math.MaxInt64)
	for range 3 {
		cfg := testConfig(b, b.Group())
		cfg.MaxWaitTime = time.Second
		peak := stalledPeak(t, stalledOrder{config.WithSecrets(cfg), topic})
		t.Logf("peak %d MiB", peak>>20)
		if best = min(best, peak); best <= limit {
			return
		}
	}
	t.Errorf("peak %d MiB, limit %d MiB", best>>20, limit>>20)
}

// stalledPeak runs a stalled worker until its memory has stopped growing and returns
// its peak.
func stalledPeak(t *testing.T, o stalledOrder) int64 {
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stalledEnv+"="+string(order))
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill(); <-exited }() //nolint:errcheck // it was killed
	peak, still := int64(0), 0
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); still < 20 && time.Since(began) < patient; {
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("the worker ended: %v\n%s", err, out.String())
		case <-tick.C:
		}
		if now := peakMemory(t, cmd.Process.Pid); now > peak {
			peak, still = now, 0
		} else if peak > 30<<20 {
			still++
		}
	}
	return peak
}

// peakMemory is the most resident memory a process has had, in bytes.
func peakMemory(t testing.TB, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}

// fillCompressed writes batches of 1 MiB to each partition and returns about how
// many bytes they are compressed.
func fillCompressed(t testing.TB, b *testbroker.Broker, topic string, partitions, batches int) int {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Compression = sarama.CompressionZSTD
	conf.Producer.MaxMessageBytes = 2 << 20
	conf.Producer.Return.Successes = true
	conf.Producer.Retry.Max = 50 // so many partitions take a while to have leaders
	p, err := sarama.NewSyncProducer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// Random bytes, each value a twentieth of them and the rest zeros.
	value := make([]byte, 16<<10)
	for i := range len(value) / 20 {
		value[i] = byte(i*7919 + i*i>>3)
	}
	for range batches {
		var ms []*sarama.ProducerMessage
		for n := range partitions {
			for i := range (1 << 20) / len(value) {
				v := bytes.Clone(value)
				for j := range len(value) / 20 {
					v[j] ^= byte(i*31 + n*17 + j*i)
				}
				ms = append(ms, &sarama.ProducerMessage{Topic: topic, Partition: int32(n), Value: sarama.ByteEncoder(v)})
			}
			if len(ms) > 1000 {
				if err := p.SendMessages(ms); err != nil {
					t.Fatal(err)
				}
				ms = nil
			}
		}
		if err := p.SendMessages(ms); err != nil {
			t.Fatal(err)
		}
	}
	return partitions * batches * (1 << 20) / 20
}
