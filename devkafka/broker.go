// Package devkafka is a Kafka broker inside the process, for development and
// tests: `racecar broker`, `racecar --dev`, `racecar demo` and package
// racecartest. It speaks the real protocol (kfake, of franz-go) to any client,
// listens on the loopback address only, and keeps its data in a directory when
// given one.
// It is not covered by the compatibility promise.
//
// It is not Kafka. Known differences: a group's first rebalance waits for
// nobody (Kafka: group.initial.rebalance.delay.ms), JoinGroup replies name a
// leader after a restart of a static one, and there is no authentication.
// Test with Kafka whatever must work with Kafka.
package devkafka

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/racecar-go/racecar/config"
	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DefaultPartitions is how many partitions a topic gets that is made on first
// use: enough for several workers to share, few enough to read a picture of.
const DefaultPartitions = 8

// Options say how a Broker runs. The zero value is a broker in memory on a free
// port that makes topics on first use.
type Options struct {
	// Port on 127.0.0.1. 0: the one on which DataDir was last served when that
	// is free, so that clients find it again; else any free one.
	Port int
	// DataDir keeps topics, messages and committed offsets over a restart and a
	// kill; it is made when missing. One broker at a time uses it (InUseError).
	// Empty: everything is in memory and gone at Close.
	DataDir string
	// Partitions of a topic made on first use. Defaults to DefaultPartitions.
	Partitions int
	// Brokers in the cluster. Defaults to 1; more than one only without Port.
	Brokers int
	// NoTopicsOnDemand answers "unknown topic" for a topic that was not made
	// with CreateTopic or by a client's request. By default a topic is made when
	// it is first asked for, also by clients that say they do not want that: in
	// development nobody else would make it.
	NoTopicsOnDemand bool
	// Logger is told what the broker finds wrong. Nil: nobody is.
	Logger logrus.FieldLogger
}

// Broker is a running cluster. Its methods may be called concurrently.
type Broker struct {
	cluster *kfake.Cluster
	addrs   []string
	dir     *dataDir // nil: in memory
}

// Start starts a broker; it accepts connections when Start returns.
func Start(o Options) (*Broker, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	dir, err := openDataDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	cluster, err := listen(o, dir)
	if err != nil {
		return nil, errors.Join(err, dir.close())
	}
	if !o.NoTopicsOnDemand {
		makeTopicsOnDemand(cluster, o.Logger)
	}
	b := &Broker{cluster: cluster, addrs: cluster.ListenAddrs(), dir: dir}
	if err := dir.setAddr(b.addrs[0]); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (o *Options) complete() error {
	if o.Partitions == 0 {
		o.Partitions = DefaultPartitions
	}
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	switch {
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("embedded broker: port %d is not between 0 and 65535", o.Port)
	case o.Partitions < 1:
		return fmt.Errorf("embedded broker: %d partitions; a topic has at least one", o.Partitions)
	case o.Brokers < 1:
		return fmt.Errorf("embedded broker: %d brokers; a cluster has at least one", o.Brokers)
	case o.Port != 0 && o.Brokers > 1:
		return fmt.Errorf("embedded broker: %d brokers cannot share port %d", o.Brokers, o.Port)
	}
	return nil
}

// listen starts the cluster on the port asked for, or on the directory's last
// one when that is still free.
func listen(o Options, dir *dataDir) (*kfake.Cluster, error) {
	if last := dir.lastPort(); o.Port == 0 && o.Brokers == 1 && last != 0 {
		switch c, err := newCluster(o, dir, last); {
		case err == nil:
			return c, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, err
		}
	}
	return newCluster(o, dir, o.Port)
}

func newCluster(o Options, dir *dataDir, port int) (*kfake.Cluster, error) {
	opts := []kfake.Opt{
		kfake.ClusterID("racecar-dev"),
		kfake.NumBrokers(o.Brokers),
		kfake.DefaultNumPartitions(o.Partitions),
	}
	if port != 0 {
		opts = append(opts, kfake.Ports(port))
	}
	if dir != nil {
		opts = append(opts, kfake.DataDir(dir.kafka))
	}
	if o.Logger != nil {
		opts = append(opts, kfake.WithLogger(logger{o.Logger}))
	}
	c, err := kfake.NewCluster(opts...)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("embedded broker: 127.0.0.1:%d is taken; choose another port, or 0 for a free one: %w", port, err)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return c, nil
}

// makeTopicsOnDemand makes each topic that a metadata request names. kfake has an
// option for it, but that obeys clients which ask for no topic to be made, and
// forgets the topics it made when it is killed.
func makeTopicsOnDemand(c *kfake.Cluster, log logrus.FieldLogger) {
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		for _, t := range r.(*kmsg.MetadataRequest).Topics {
			if t.Topic == nil || c.TopicInfo(*t.Topic) != nil {
				continue
			}
			// The client learns of a name that no topic can have by the answer
			// to its request: unknown topic.
			if err := createTopic(c, *t.Topic, 0); err != nil && log != nil {
				log.WithError(err).WithField("topic", *t.Topic).Warn("topic not made")
			}
		}
		return nil, nil, false
	})
}

// Addr is the address to give to clients, as host:port.
func (b *Broker) Addr() string { return b.addrs[0] }

// Addrs are the addresses of all brokers of the cluster.
func (b *Broker) Addrs() []string { return b.addrs }

// CreateTopic makes a topic; partitions 0 stands for Options.Partitions.
func (b *Broker) CreateTopic(name string, partitions int) error {
	if err := createTopic(b.cluster, name, partitions); err != nil {
		return fmt.Errorf("make topic %q: %w", name, err)
	}
	return nil
}

// createTopic refuses the names that Kafka refuses; kfake takes them.
func createTopic(c *kfake.Cluster, name string, partitions int) error {
	if !config.ValidTopic(name) {
		return kerr.InvalidTopicException
	}
	return c.CreateTopic(name, int32(partitions), nil)
}

// Cluster gives tests what kfake offers beyond the protocol: faults, controlled
// requests, moved leaders.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops the broker and closes its connections. With a DataDir everything
// is on disk when it returns. Calling it again does nothing.
func (b *Broker) Close() error {
	b.cluster.Close()
	return b.dir.close()
}

// InUseError is what Start returns when another broker serves the DataDir.
type InUseError struct {
	Dir  string
	Addr string // where it listens; empty when it does not yet
}

func (e *InUseError) Error() string {
	if e.Addr == "" {
		return fmt.Sprintf("embedded broker: another one is starting in %s", e.Dir)
	}
	return fmt.Sprintf("embedded broker: another one serves %s at %s; use that, or another directory", e.Dir, e.Addr)
}
