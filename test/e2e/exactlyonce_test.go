package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/seeds"
)

// Workers are killed at random moments, and a broker, while one consumer copies a
// topic with transactions and another without. Of the first, readers with
// read_committed see each message's copy once, and in order per partition; of the
// second, nothing is missing.
func TestNothingIsLostWhileKilling(t *testing.T) {
	messages, kills, concurrency := 50_000, 5, []string{"1"}
	if os.Getenv(seeds.SoakVar) != "" {
		messages, kills, concurrency = 500_000, 50, []string{"1", "4"}
	}
	for _, concurrency := range concurrency {
		t.Run("concurrency "+concurrency, func(t *testing.T) {
			b := newKillBed(t, messages)
			runs := []*killRun{b.start(t, "JournalTx", concurrency), b.start(t, "Journal", concurrency)}
			b.killAt(t, runs, messages, kills)
			for _, r := range runs {
				stop(t, r.process)
				b.judge(t, r)
			}
		})
	}
}

// A worker that goes on while output is in flight copies twenty times as much as one
// that calls Deliver after each message, and has promised no less.
func TestProducingBeatsDeliveringEach(t *testing.T) {
	seeds.Soak(t) // a measurement: it wants the machine for itself
	const messages, factor = 200_000, 20
	b := newKillBed(t, messages)
	rate := func(env string, enough int) float64 {
		r := b.start(t, "Journal", "1", "JOURNAL_DELAY=0s", env)
		var records []judge.Record
		harness.Eventually(t, fmt.Sprintf("%d messages copied", enough), func() (err error) {
			if records, err = judge.ReadDir(r.dir); err == nil && len(records) < enough {
				err = fmt.Errorf("%d", len(records))
			}
			return err
		})
		stop(t, r.process)
		first, last := records[0].Start, records[0].End
		for _, r := range records {
			if r.Start.Before(first) {
				first = r.Start
			}
			if r.End.After(last) {
				last = r.End
			}
		}
		return float64(len(records)) / last.Sub(first).Seconds()
	}
	each := rate("JOURNAL_DELIVER=1", 5_000)
	ahead := rate("JOURNAL_DELIVER=", messages-10_000)
	t.Logf("%.0f messages/s, %.0f with Deliver after each: %.0f times", ahead, each, ahead/each)
	if ahead < factor*each {
		t.Errorf("%.0f messages/s are less than %d times %.0f", ahead, factor, each)
	}
}

// killBed is three brokers and a topic with messages.
type killBed struct {
	cluster *cluster.Cluster
	admin   sarama.ClusterAdmin
	counts  []int
}

// killRun is a consumer that copies the topic; its group and the topic it copies to
// have its name.
type killRun struct {
	consumer string
	process  *harness.Process
	dir      string
}

const killTopic = "in"

func newKillBed(t *testing.T, messages int) *killBed {
	b := &killBed{cluster: cluster.Start(t, cluster.Options{Brokers: 3}), counts: make([]int, partitions)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, topic := range []string{killTopic, "Journal", "JournalTx"} {
		if err := b.cluster.CreateTopic(ctx, topic, partitions, 3); err != nil {
			t.Fatal(err)
		}
	}
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Metadata.Retry.Max, conf.Admin.Retry.Max = 20, 20
	var err error
	if b.admin, err = sarama.NewClusterAdmin(b.cluster.AdminAddrs(), conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Close() }) // it only asked
	produceNumbered(t, b.cluster.Addrs(), killTopic, messages, b.counts)
	return b
}

func (b *killBed) start(t *testing.T, consumer, concurrency string, env ...string) *killRun {
	r := &killRun{consumer: consumer, dir: t.TempDir()}
	r.process = harness.Start(t, harness.Command{
		Role: "app",
		Args: []string{
			"--brokers", strings.Join(b.cluster.Addrs(), ","), "--group-id", consumer, "--parallel-workers", "3",
			"--heartbeat-interval", "0.5", "--session-timeout", "10", "--max-wait-time", "0.1", "--worker-restart-limit", "-1",
			"--log-format", "text", consumer,
		},
		Env: append([]string{
			"JOURNAL_DIR=" + r.dir, "JOURNAL_TOPICS=" + killTopic, "JOURNAL_OUT=" + consumer, "JOURNAL_DELAY=50us",
			"JOURNAL_CONCURRENCY=" + concurrency,
		}, env...),
	})
	return r
}

// committed is the sum of what a group has committed. Nothing is known of it
// while the coordinator moves.
func (b *killBed) committed(group string) (int, error) {
	all := make([]int32, partitions)
	for i := range all {
		all[i] = int32(i)
	}
	resp, err := b.admin.ListConsumerGroupOffsets(group, map[string][]int32{killTopic: all})
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, p := range all {
		block := resp.GetBlock(killTopic, p)
		if block == nil || block.Err != sarama.ErrNoError {
			return 0, fmt.Errorf("partition %d: %+v", p, block)
		}
		sum += int(max(block.Offset, 0))
	}
	return sum, nil
}

// killAt waits until everything is committed and kills along the way, each time
// when a random share of a part of the messages is: a worker of each run, and in one
// of five kills a broker.
func (b *killBed) killAt(t *testing.T, runs []*killRun, messages, kills int) {
	t.Helper()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var restarts sync.WaitGroup
	defer restarts.Wait()
	best, moved := map[string]int{}, time.Now()
	// reached waits until each run, or any, has come so far.
	reached := func(n int, each bool) {
		t.Helper()
		for {
			there := 0
			for _, r := range runs {
				sum, err := b.committed(r.consumer)
				if err == nil && sum > best[r.consumer] {
					best[r.consumer], moved = sum, time.Now()
				}
				if best[r.consumer] >= n {
					there++
				}
			}
			if there == len(runs) || there > 0 && !each {
				return
			}
			if time.Since(moved) > time.Minute {
				t.Fatalf("nothing was committed for a minute: %v of %d", best, messages)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	workersKilled, brokersKilled := 0, 0
	for i := range kills {
		part := messages / (kills + 1)
		reached(i*part+random.IntN(part), false)
		if i%5 == 2 {
			restarts.Wait() // one at a time
			broker := b.cluster.Broker(1 + random.IntN(3))
			if err := broker.Kill(); err != nil {
				t.Fatal(err)
			}
			brokersKilled++
			restarts.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				if err := broker.Restart(ctx); err != nil {
					t.Errorf("restart broker %d: %v", broker.ID, err)
				} else if err := b.cluster.AwaitInSync(ctx, "JournalTx"); err != nil {
					t.Error(err)
				}
			})
			continue
		}
		for _, r := range runs {
			harness.Eventually(t, "a worker killed", func() error {
				var pids []int
				for _, pid := range workers(r.process) {
					pids = append(pids, pid)
				}
				if len(pids) == 0 {
					return errors.New("none is there")
				}
				return syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL) // it may be gone by now
			})
			workersKilled++
		}
	}
	reached(messages, true)
	t.Logf("%d workers and %d brokers killed during %d messages", workersKilled, brokersKilled, messages)
}

// judge weighs the copies that readers with read_committed see.
func (b *killBed) judge(t *testing.T, r *killRun) {
	t.Helper()
	produced := map[judge.Partition][]int64{}
	for p, n := range b.counts {
		at := judge.Partition{Topic: killTopic, Partition: int32(p)}
		for o := range n {
			produced[at] = append(produced[at], int64(o))
		}
	}
	copies := readCopies(t, b.cluster.Addrs(), r.consumer)
	visible := 0
	for _, c := range copies {
		visible += len(c)
	}
	records, err := judge.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d calls of Process, %d copies visible", r.consumer, len(records), visible)
	exactly := r.consumer == "JournalTx"
	findings := judge.Copies(produced, nil, copies, exactly)
	for i, f := range findings {
		if i == 20 {
			t.Errorf("… and %d more", len(findings)-i)
			break
		}
		t.Error(f)
	}
	if exactly && len(records) == visible {
		t.Error("no kill had anything processed again: nothing was tested")
	}
}

// readCopies reads the copies in a topic as read_committed readers see it.
func readCopies(t *testing.T, addrs []string, topic string) [][]judge.Copy {
	t.Helper()
	var all [][]judge.Copy
	for _, messages := range readCommitted(t, addrs, topic, partitions) {
		var copies []judge.Copy
		for _, m := range messages {
			copies = append(copies, copyIn(t, m))
		}
		all = append(all, copies)
	}
	return all
}

// readCommitted reads the partitions of a topic up to marks that it writes.
func readCommitted(t *testing.T, addrs []string, topic string, partitions int32) [][]*sarama.ConsumerMessage {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.IsolationLevel = sarama.ReadCommitted
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes = true
	client, err := sarama.NewClient(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing is lost
	marks, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close() //nolint:errcheck // it is synchronous
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close() //nolint:errcheck // it was only read
	if there, err := client.Partitions(topic); err != nil {
		t.Fatal(err)
	} else if len(there) < int(partitions) { // one that was made on the way
		partitions = int32(len(there))
	}
	const mark = "the end"
	var all [][]*sarama.ConsumerMessage
	for p := range partitions {
		if _, _, err := marks.SendMessage(&sarama.ProducerMessage{Topic: topic, Partition: p, Key: sarama.StringEncoder(mark)}); err != nil {
			t.Fatal(err)
		}
		pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		var messages []*sarama.ConsumerMessage
		timeout := time.After(time.Minute)
		for ended := false; !ended; {
			select {
			case m := <-pc.Messages():
				if ended = string(m.Key) == mark; !ended {
					messages = append(messages, m)
				}
			case <-timeout:
				t.Fatalf("%s/%d: a transaction is open still: %d messages can be read, and not the end", topic, p, len(messages))
			}
		}
		if err := pc.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, messages)
	}
	return all
}

// copyIn reads where a copy came from.
func copyIn(t *testing.T, m *sarama.ConsumerMessage) (c judge.Copy) {
	t.Helper()
	for _, h := range m.Headers {
		if string(h.Key) != "origin" {
			continue
		}
		f := strings.Split(string(h.Value), "/")
		if len(f) == 3 {
			c.From.Topic = f[0]
			if _, err := fmt.Sscan(f[1]+" "+f[2], &c.From.Partition, &c.Offset); err == nil {
				return c
			}
		}
	}
	t.Fatalf("a message without its origin: %v", m)
	return c
}
