// Package testbroker gives a test suite a Kafka to run against, without the suite
// having to know which:
//
//	b := testbroker.New(t)
//	topic := b.Topic(12)
//	… b.Addrs() … b.Group() …
//
// By default that is an embedded broker (kfake) of the test's own, so that
// `go test ./...` needs nothing but Go. With KAFKA=real it is Apache Kafka: the
// one at KAFKA_ADDR (addresses, comma separated), which all tests then share, or
// else one started for this test, which takes two seconds and needs Java and
// Maven.
//
// Topics and groups must be asked for by Topic and Group, whose names no other
// test uses. What only one of the two can do is asked for by Embedded and RealOnly,
// which skip the test on the other.
package testbroker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// Broker is a Kafka to test against. Its methods fail the test instead of
// returning errors, so they belong on the test's own goroutine.
type Broker struct {
	t        testing.TB
	addrs    []string
	embedded *kfake.Cluster // nil: Apache Kafka
}

// New returns a broker that lasts as long as the test. opts concern the embedded
// one alone; without any it has one broker, takes session timeouts from 1 s and
// creates no topics by itself, like test/kafka's.
func New(t testing.TB, opts ...kfake.Opt) *Broker {
	t.Helper()
	b := &Broker{t: t}
	switch {
	case !cluster.Real():
		opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second)}, opts...)
		embedded, err := kfake.NewCluster(opts...)
		if err != nil {
			t.Fatalf("start the embedded broker: %v", err)
		}
		t.Cleanup(embedded.Close)
		b.embedded, b.addrs = embedded, embedded.ListenAddrs()
	case os.Getenv("KAFKA_ADDR") != "":
		b.addrs = strings.Split(os.Getenv("KAFKA_ADDR"), ",")
		t.Logf("%s at %s (KAFKA_ADDR)", cluster.Marker, os.Getenv("KAFKA_ADDR"))
	default:
		b.addrs = cluster.Start(t, cluster.Options{}).Addrs()
	}
	return b
}

// Addrs returns the addresses to connect to.
func (b *Broker) Addrs() []string { return b.addrs }

// Real reports whether this is Apache Kafka.
func (b *Broker) Real() bool { return b.embedded == nil }

// Embedded returns the embedded broker, for tests that steer its internals. With
// KAFKA=real it skips the test.
func (b *Broker) Embedded() *kfake.Cluster {
	b.t.Helper()
	if b.embedded == nil {
		b.t.Skip("steers the embedded broker: runs without KAFKA=real")
	}
	return b.embedded
}

// RealOnly skips the test unless this is Apache Kafka.
func (b *Broker) RealOnly() {
	b.t.Helper()
	if b.embedded != nil {
		b.t.Skip("needs Apache Kafka: set KAFKA=real")
	}
}

// Topic creates a topic of its own for this test and returns its name.
func (b *Broker) Topic(partitions int32) string {
	b.t.Helper()
	topic := b.unique()
	b.CreateTopic(topic, partitions)
	return topic
}

// Group returns a group id that no other test uses.
func (b *Broker) Group() string { return b.unique() }

// CreateTopic creates a topic of a given name, for tests that must choose it
// themselves (after a pattern, say), and returns when its partitions have leaders.
// At KAFKA_ADDR it is deleted after the test.
func (b *Broker) CreateTopic(topic string, partitions int32) {
	b.t.Helper()
	b.CreateTopicWith(topic, partitions, nil)
}

// CreateTopicWith is CreateTopic with settings of the topic's own.
func (b *Broker) CreateTopicWith(topic string, partitions int32, settings map[string]string) {
	b.t.Helper()
	b.admin(func(admin sarama.ClusterAdmin) error {
		// -1: the broker's default, as we do not know how many there are.
		detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: -1, ConfigEntries: map[string]*string{}}
		for key, value := range settings {
			detail.ConfigEntries[key] = &value
		}
		return admin.CreateTopic(topic, detail, false)
	})
	if b.embedded == nil {
		b.t.Cleanup(func() {
			b.admin(func(admin sarama.ClusterAdmin) error {
				if err := admin.DeleteTopic(topic); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) { // the test may have done it
					return err
				}
				return nil
			})
		})
	}
	b.awaitTopic(topic, partitions)
}

// DeleteTopic deletes a topic and returns when no broker lists it any more.
func (b *Broker) DeleteTopic(topic string) {
	b.t.Helper()
	b.admin(func(admin sarama.ClusterAdmin) error {
		if err := admin.DeleteTopic(topic); err != nil {
			return err
		}
		for {
			all, err := admin.ListTopics()
			if err != nil {
				return err
			}
			if _, there := all[topic]; !there {
				return nil
			}
		}
	})
}

// AddPartitions gives the topic so many partitions in all.
func (b *Broker) AddPartitions(topic string, partitions int32) {
	b.t.Helper()
	b.admin(func(admin sarama.ClusterAdmin) error {
		return admin.CreatePartitions(topic, partitions, nil, false)
	})
	b.awaitTopic(topic, partitions)
}

// Produce writes values to one partition of topic, in order, and returns when all
// brokers in sync have them.
func (b *Broker) Produce(topic string, partition int32, values ...string) {
	b.t.Helper()
	conf := clientConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Retry.Max = 50 // the leader of a new partition may take its time
	producer, err := sarama.NewSyncProducer(b.addrs, conf)
	if err != nil {
		b.t.Fatalf("produce to %s: %v", topic, err)
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(values))
	for i, v := range values {
		messages[i] = &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(v)}
	}
	if err := producer.SendMessages(messages); err != nil {
		b.t.Fatalf("produce to %s: %v", topic, err)
	}
}

// Committed returns the offset that group has committed for a partition, -1 for
// none.
func (b *Broker) Committed(group, topic string, partition int32) int64 {
	b.t.Helper()
	offset := int64(-1)
	b.admin(func(admin sarama.ClusterAdmin) error {
		got, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {partition}})
		// The embedded broker says so of a group without members or offsets.
		if errors.Is(err, sarama.ErrGroupIDNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		block := got.GetBlock(topic, partition)
		if block == nil {
			return nil
		}
		offset = block.Offset
		if block.Err != sarama.ErrNoError {
			return block.Err
		}
		return nil
	})
	return offset
}

// Members returns how many members group has.
func (b *Broker) Members(group string) (n int) {
	b.t.Helper()
	b.admin(func(admin sarama.ClusterAdmin) error {
		groups, err := admin.DescribeConsumerGroups([]string{group})
		if err == nil {
			n = len(groups[0].Members)
		}
		return err
	})
	return n
}

// AwaitGroup waits until group has so many members and each has what was assigned to it: no
// rebalance is under way or wanted.
func (b *Broker) AwaitGroup(group string, members int) {
	b.t.Helper()
	harness.Eventually(b.t, "a group at rest", func() error {
		var d *sarama.GroupDescription
		b.admin(func(admin sarama.ClusterAdmin) error {
			groups, err := admin.DescribeConsumerGroups([]string{group})
			if err == nil {
				d = groups[0]
			}
			return err
		})
		if d.State != "Stable" || len(d.Members) != members {
			return fmt.Errorf("%s is %s with %d members", group, d.State, len(d.Members))
		}
		return nil
	})
}

// unique returns a name made of the test's and a random part.
func (b *Broker) unique() string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, b.t.Name())
	if len(name) > 100 { // Kafka allows 249, and users of the name append to it
		sum := fnv.New32a()
		sum.Write([]byte(name))
		name = fmt.Sprintf("%s-%x", name[:90], sum.Sum32())
	}
	return fmt.Sprintf("%s-%08x", name, rand.Uint32())
}

// awaitTopic waits until the broker reports that many partitions with a leader.
func (b *Broker) awaitTopic(topic string, partitions int32) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var missing error
		b.admin(func(admin sarama.ClusterAdmin) error {
			topics, err := admin.DescribeTopics([]string{topic})
			switch {
			case err != nil:
				return err
			case topics[0].Err != sarama.ErrNoError:
				missing = topics[0].Err
			case len(topics[0].Partitions) < int(partitions):
				missing = fmt.Errorf("%d partitions", len(topics[0].Partitions))
			}
			for _, p := range topics[0].Partitions {
				if p.Err != sarama.ErrNoError {
					missing = p.Err
				}
			}
			return nil
		})
		if missing == nil {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("topic %s has no %d partitions with leaders after 30 s: %v", topic, partitions, missing)
		case <-tick.C:
		}
	}
}

// admin runs do with a client of its own and fails the test where it fails.
func (b *Broker) admin(do func(sarama.ClusterAdmin) error) {
	b.t.Helper()
	admin, err := sarama.NewClusterAdmin(b.addrs, clientConfig())
	if err == nil {
		err = errors.Join(do(admin), admin.Close())
	}
	if err != nil {
		b.t.Fatalf("ask the broker at %v: %v", b.addrs, err)
	}
}

func clientConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "racecar-test"
	conf.Version = sarama.V2_8_0_0
	return conf
}
