package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// ownCluster makes newBed and testbroker.New use three brokers of the test's own.
func ownCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c := cluster.Start(t, cluster.Options{Brokers: 3})
	t.Setenv("KAFKA_ADDR", strings.Join(c.Addrs(), ","))
	return c
}

// The broker of the dead-letter topic is away: the partition whose message is to go
// there stays where it is and says so, the others do not notice, and nothing is lost.
func TestDeadLetterBrokerDown(t *testing.T) {
	c := ownCluster(t)
	b := &bed{t: t, broker: testbroker.New(t), dir: t.TempDir(), counts: make([]int, partitions)}
	b.topic = b.broker.Group()
	for b.group = b.broker.Group(); ; b.group = b.broker.Group() { // coordinated by one that stays
		k, err := c.Coordinator(b.group)
		if err != nil {
			t.Fatal(err)
		}
		if k.ID != 3 {
			break
		}
	}
	letters := b.group + ".dead"
	on := map[int32][]int32{}
	for p := range int32(partitions) {
		on[p] = []int32{1 + p%2, 2 - p%2}
	}
	createOn(t, c, b.topic, on)
	createOn(t, c, letters, map[int32][]int32{0: {3}})

	p := b.start([]string{"JOURNAL_TRAP=3-50=fail"}, "--parallel-workers", "2", "--dead-letter-topic", letters, "--max-retries", "1", "--pause-timeout", "0.1", "Journal")
	awaitBoth(t, p)
	if err := c.Broker(3).Kill(); err != nil {
		t.Fatal(err)
	}
	away := seeds.Length(6*time.Second, time.Minute)
	over := time.After(away)
	stream := b.stream(400)
	b.awaitState(p, 3, status.PartitionBlocked)
	<-over
	if state := partitionStates(t, p)[3]; state.State != status.PartitionBlocked && state.State != status.PartitionBackoff || !strings.Contains(state.Reason, letters) && state.Reason == "" {
		t.Errorf("after %v partition 3 is %s (%s)", away, state.State, state.Reason)
	}
	sent := stream.end()
	b.awaitProcessed(b.total() - b.counts[3] + 50)
	if n := b.processedOf(3); n != 50 {
		t.Errorf("%d messages of partition 3 were processed", n)
	}
	if at := b.broker.Committed(b.group, b.topic, 3); at > 50 {
		t.Errorf("committed %d of partition 3", at)
	}
	var others []judge.Record
	for _, r := range b.records() {
		if r.Partition != 3 {
			others = append(others, r)
		}
	}
	delays := stream.delays(others)
	if len(delays) == 0 {
		t.Fatal("the machine had no time")
	}
	t.Logf("%d messages while the dead-letter topic was away for %v; the other partitions processed theirs within %v (median), %v (at most)",
		sent, away, delays[len(delays)/2].Round(time.Millisecond), delays[len(delays)-1].Round(time.Millisecond))
	if s := share(delays, time.Second); s < 0.99 {
		t.Errorf("only %.1f %% of the other partitions' messages were processed within a second", 100*s)
	}

	if err := c.Broker(3).Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.awaitProcessed(b.total() - 1)
	b.awaitDeadLetters(letters, 1)
	stop(t, p)
	e := b.evidence()
	e.Skipped = map[judge.Partition][]int64{{Topic: b.topic, Partition: 3}: {50}}
	b.judge(e)
	if h := headers(b.recordsOf(letters)[0]); h["racecar-dlq-offset"] != "50" || h["racecar-dlq-error"] != "told to fail" {
		t.Errorf("dead letter with %v", h)
	}
}

// createOn creates a topic with replicas on the given brokers.
func createOn(t *testing.T, c *cluster.Cluster, topic string, on map[int32][]int32) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(c.AdminAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	one := "1"
	detail := &sarama.TopicDetail{
		NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: on,
		ConfigEntries: map[string]*string{"min.insync.replicas": &one},
	}
	if err := admin.CreateTopic(topic, detail, false); err != nil {
		t.Fatalf("topic %s: %v", topic, err)
	}
	if err := c.AwaitInSync(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

// All brokers are away, for longer than message_timeout: what they did to deliveries
// is no failure of a message. Nothing is lost, and nothing dead-lettered.
func TestAllBrokersDown(t *testing.T) {
	c := ownCluster(t)
	b := newBed(t, 12_000)
	letters, out := b.group+".dead", b.broker.Topic(3)
	p := b.start([]string{"JOURNAL_DELAY=1ms", "JOURNAL_OUT=" + out}, "--parallel-workers", "2",
		"--dead-letter-topic", letters, "--max-retries", "1", "--pause-timeout", "0.1", "--message-timeout", "3", "Journal")
	b.awaitProcessed(1000)
	for _, k := range c.Brokers() {
		if err := k.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(seeds.Length(12*time.Second, 2*time.Minute)) // the outage itself: message_timeout, and in a soak sessions, are over long before
	restartAll(t, c)
	b.awaitProcessed(b.total())
	awaitCommitted(t, b)
	stop(t, p)
	e := b.evidence()
	e.AllowedRepeats = b.total() // whose output was not acknowledged
	b.judge(e)
	if got := b.recordsOf(letters); len(got) != 0 {
		t.Errorf("%d messages were dead-lettered, the first for %q", len(got), headers(got[0])["racecar-dlq-error"])
	}
	copied := map[string]bool{}
	for _, m := range b.recordsOf(out) {
		copied[string(m.Key)] = true
	}
	if len(copied) != b.total() {
		t.Errorf("%d of %d messages have output", len(copied), b.total())
	}
}

func restartAll(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(c.Brokers()))
	for i, k := range c.Brokers() {
		wg.Go(func() { errs[i] = k.Restart(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func awaitCommitted(t *testing.T, b *bed) {
	t.Helper()
	harness.Eventually(t, "everything committed", func() error {
		for p, n := range b.counts {
			if at := b.broker.Committed(b.group, b.topic, int32(p)); at != int64(n) {
				return fmt.Errorf("%d of %d of partition %d", at, n, p)
			}
		}
		return nil
	})
}
