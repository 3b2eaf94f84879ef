package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// CreateTopic creates a topic and returns when every running broker knows a
// leader for each of its partitions. replication 0 is min(3, brokers).
func (c *Cluster) CreateTopic(ctx context.Context, topic string, partitions int32, replication int16) error {
	if replication == 0 {
		replication = int16(c.opts.replication())
	}
	err := c.admin(func(admin sarama.ClusterAdmin) error {
		return admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: replication}, false)
	})
	if err != nil {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	return c.awaitTopic(ctx, topic, partitions, false)
}

// AddPartitions gives topic so many partitions in all and returns when every
// running broker knows a leader for each.
func (c *Cluster) AddPartitions(ctx context.Context, topic string, partitions int32) error {
	err := c.admin(func(admin sarama.ClusterAdmin) error {
		return admin.CreatePartitions(topic, partitions, nil, false)
	})
	if err != nil {
		return fmt.Errorf("add partitions to topic %q: %w", topic, err)
	}
	return c.awaitTopic(ctx, topic, partitions, false)
}

// AwaitInSync returns when every partition of topic has all its replicas in sync:
// the moment at which the next broker of a rolling restart may go.
func (c *Cluster) AwaitInSync(ctx context.Context, topic string) error {
	return c.awaitTopic(ctx, topic, 1, true)
}

// Leader returns the broker that leads a partition.
func (c *Cluster) Leader(topic string, partition int32) (*Broker, error) {
	meta, err := topicMetadata(c.adminAddr(), topic)
	if err != nil {
		return nil, err
	}
	for _, p := range meta.Partitions {
		if p.ID == partition && p.Leader > 0 {
			return c.Broker(int(p.Leader)), nil
		}
	}
	return nil, fmt.Errorf("topic %q, partition %d has no leader", topic, partition)
}

// Coordinator returns the broker that coordinates a consumer group.
func (c *Cluster) Coordinator(group string) (*Broker, error) {
	var id int32
	err := request(c.adminAddr(), func(conn *sarama.Broker) error {
		found, err := conn.FindCoordinator(&sarama.FindCoordinatorRequest{
			Version: 1, CoordinatorKey: group, CoordinatorType: sarama.CoordinatorGroup,
		})
		if err != nil {
			return err
		}
		id = found.Coordinator.ID()
		return kafkaError(found.Err)
	})
	if err != nil {
		return nil, fmt.Errorf("coordinator of group %q: %w", group, err)
	}
	return c.Broker(int(id)), nil
}

// awaitTopic waits until each running broker reports that many partitions, each
// with a leader, and, if inSync, with all its replicas in sync.
func (c *Cluster) awaitTopic(ctx context.Context, topic string, partitions int32, inSync bool) error {
	for _, b := range c.brokers {
		if b.State() != Running {
			continue
		}
		err := c.poll(ctx, func() error {
			meta, err := topicMetadata(b.addr(internalListener), topic)
			if err != nil {
				return err
			}
			if have := int32(len(meta.Partitions)); have < partitions {
				return fmt.Errorf("%d of %d partitions", have, partitions)
			}
			for _, p := range meta.Partitions {
				if p.Leader <= 0 {
					return fmt.Errorf("partition %d has no leader", p.ID)
				}
				if inSync && len(p.Isr) < len(p.Replicas) {
					return fmt.Errorf("partition %d has %d of %d replicas in sync", p.ID, len(p.Isr), len(p.Replicas))
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("topic %q on broker %d: %w", topic, b.ID, err)
		}
	}
	return nil
}

// topicMetadata asks the broker at addr what it knows of topic.
func topicMetadata(addr, topic string) (*sarama.TopicMetadata, error) {
	var meta *sarama.MetadataResponse
	err := request(addr, func(conn *sarama.Broker) (err error) {
		meta, err = conn.GetMetadata(&sarama.MetadataRequest{Version: 7, Topics: []string{topic}})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(meta.Topics) != 1 {
		return nil, fmt.Errorf("metadata of topic %q: %d answers", topic, len(meta.Topics))
	}
	return meta.Topics[0], kafkaError(meta.Topics[0].Err)
}

// admin runs do with a client of its own.
func (c *Cluster) admin(do func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin([]string{c.adminAddr()}, clientConfig())
	if err != nil {
		return err
	}
	return errors.Join(do(admin), admin.Close())
}
