// Package e2e runs whole products: a supervisor with its workers as processes,
// against the embedded broker or, with KAFKA=real, against Apache Kafka.
package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/cli"
	_ "github.com/racecar-go/racecar/test/consumers"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m, map[string]func(){"app": cli.Main}))
}

const partitions = 8

// bed is a topic with messages and a directory of journals.
type bed struct {
	t      *testing.T
	broker *testbroker.Broker
	topic  string
	group  string
	dir    string
	counts []int // messages of each partition
	// keeps names files that a supervisor killed on purpose may leave.
	keeps    []string
	outlives bool     // the command is a daemon
	workdir  string   // empty: a fresh one
	program  string   // empty: this binary where it is
	prefix   []string // arguments before those of racecar, where program starts it
}

func newBed(t *testing.T, messages int) *bed { return newWideBed(t, partitions, messages) }

// newWideBed is newBed with so many partitions.
func newWideBed(t *testing.T, partitions, messages int) *bed {
	b := &bed{t: t, broker: testbroker.New(t), dir: t.TempDir(), counts: make([]int, partitions)}
	b.topic, b.group = b.broker.Topic(int32(partitions)), b.broker.Group()
	b.produce(messages)
	return b
}

// produce adds messages, spread evenly; key and value number them per partition.
func (b *bed) produce(messages int) {
	b.t.Helper()
	produceNumbered(b.t, b.broker.Addrs(), b.topic, messages, b.counts)
}

// produceNumbered adds messages to counts of each of a topic's partitions.
func produceNumbered(t *testing.T, addrs []string, topic string, messages int, counts []int) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var batch []*sarama.ProducerMessage
	flush := func() {
		if err := p.SendMessages(batch); err != nil {
			t.Fatal(err)
		}
		batch = batch[:0]
	}
	for i := range messages {
		partition := i % len(counts)
		key := fmt.Sprintf("%d-%d", partition, counts[partition])
		counts[partition]++
		batch = append(batch, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(partition),
			Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(strings.Repeat("x", 100)),
		})
		if len(batch) == 10_000 {
			flush()
		}
	}
	flush()
}

// start runs a supervisor over the bed's topic.
func (b *bed) start(env []string, args ...string) *harness.Process {
	b.t.Helper()
	env = append([]string{"JOURNAL_DIR=" + b.dir, "JOURNAL_TOPICS=" + b.topic}, env...)
	flags := []string{
		"--brokers", strings.Join(b.broker.Addrs(), ","), "--group-id", b.group,
		"--heartbeat-interval", "0.2", "--session-timeout", "10", "--max-wait-time", "0.1",
		"--log-format", "text",
	}
	return harness.Start(b.t, harness.Command{
		Role: "app", Path: b.program, Args: slices.Concat(b.prefix, flags, args), Env: env,
		KeepsFiles: b.keeps, Outlives: b.outlives, Dir: b.workdir,
	})
}

// records reads the journals as they are now.
func (b *bed) records() []judge.Record {
	b.t.Helper()
	records, err := judge.ReadDir(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return records
}

// awaitProcessed waits until that many different messages were processed.
func (b *bed) awaitProcessed(n int) {
	b.t.Helper()
	harness.Eventually(b.t, fmt.Sprintf("%d messages processed", n), func() error {
		type message struct {
			at     judge.Partition
			offset int64
		}
		seen := map[message]bool{}
		for _, r := range b.records() {
			seen[message{judge.Partition{Topic: r.Topic, Partition: r.Partition}, r.Offset}] = true
		}
		if len(seen) < n {
			return fmt.Errorf("%d processed", len(seen))
		}
		return nil
	})
}

func (b *bed) total() (n int) {
	for _, c := range b.counts {
		n += c
	}
	return n
}

// evidence is what the judge needs.
func (b *bed) evidence() judge.Evidence {
	b.t.Helper()
	e := judge.Evidence{
		Produced: map[judge.Partition][]int64{}, Processed: b.records(), Committed: map[judge.Partition]int64{},
	}
	for p := range b.counts {
		at := judge.Partition{Topic: b.topic, Partition: int32(p)}
		for o := range b.counts[p] {
			e.Produced[at] = append(e.Produced[at], int64(o))
		}
		if c := b.broker.Committed(b.group, b.topic, int32(p)); c >= 0 {
			e.Committed[at] = c
		}
	}
	return e
}

func (b *bed) judge(e judge.Evidence) {
	b.t.Helper()
	if v := judge.Judge(e); !v.OK() {
		b.t.Error(v)
	} else {
		b.t.Log(v)
	}
}

// workers are the pids of the workers by name, e.g. "Journal[0]".
func workers(p *harness.Process) map[string]int {
	found := map[string]int{}
	for _, proc := range p.Processes() {
		if _, name, ok := strings.Cut(proc.String(), "racecar: "); ok {
			found[strings.Fields(name)[0]] = proc.Pid
		}
	}
	return found
}

// stop ends the supervisor with TERM and expects an ordered stop.
func stop(t *testing.T, p *harness.Process) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d after TERM", code)
	}
}

// within asserts that f takes no longer than limit.
func within(t *testing.T, what string, limit time.Duration, f func()) {
	t.Helper()
	limit = seeds.AtMost(limit)
	start := time.Now()
	f()
	if took := time.Since(start); took > limit {
		t.Errorf("%s took %v, more than %v", what, took.Round(time.Millisecond), limit)
	} else {
		t.Logf("%s took %v", what, took.Round(time.Millisecond))
	}
}

// partitionOf is a topic's only partition.
func partitionOf(topic string) judge.Partition { return judge.Partition{Topic: topic} }
