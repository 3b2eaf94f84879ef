package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// pollInterval is how often readiness is asked for: nothing tells us.
const pollInterval = 50 * time.Millisecond

// clientConfig is for this package's own requests.
func clientConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "racecar-test-bed"
	conf.Version = sarama.V2_8_0_0
	conf.Net.DialTimeout = 2 * time.Second
	conf.Net.ReadTimeout = 5 * time.Second
	conf.Metadata.Retry.Max = 0
	conf.ApiVersionsRequest = true
	return conf
}

// awaitReady returns when every broker knows all others and each of the group
// coordinators has answered.
func (c *Cluster) awaitReady(ctx context.Context) error {
	if err := c.awaitBrokers(ctx); err != nil {
		return err
	}
	// Java's hash of a string of one character is that character: these are one group for
	// each partition of __consumer_offsets, so together they reach every
	// coordinator.
	for i := range coordinators {
		group := string(rune('a' + i))
		if err := c.poll(ctx, func() error { return c.askCoordinator(group) }); err != nil {
			return fmt.Errorf("coordinator of group %q: %w", group, err)
		}
	}
	return nil
}

// awaitBrokers returns when every broker that should run reports all of those as
// alive.
func (c *Cluster) awaitBrokers(ctx context.Context) error {
	for _, b := range c.brokers {
		if b.State() != Running {
			continue
		}
		if err := c.poll(ctx, b.knowsOthers); err != nil {
			return fmt.Errorf("broker %d at %s: %w", b.ID, b.addr(internalListener), err)
		}
	}
	return nil
}

// poll calls ask until it returns nil, a broker has died or ctx is over.
func (c *Cluster) poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		for _, b := range c.brokers {
			if b.State() == Died {
				return fmt.Errorf("broker %d died: %s", b.ID, b.cmd.ProcessState)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready (%w), last: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// knowsOthers asks the broker for the cluster's members.
func (b *Broker) knowsOthers() error {
	var meta *sarama.MetadataResponse
	err := request(b.addr(internalListener), func(conn *sarama.Broker) (err error) {
		// Version 1 at least: in version 0 an empty list of topics means all.
		meta, err = conn.GetMetadata(&sarama.MetadataRequest{Version: 7, Topics: []string{}})
		return err
	})
	if err != nil {
		return err
	}
	for _, o := range b.cluster.brokers {
		known := slices.ContainsFunc(meta.Brokers, func(m *sarama.Broker) bool { return m.ID() == int32(o.ID) })
		if o.State() == Running && !known {
			return fmt.Errorf("does not know broker %d yet", o.ID)
		}
	}
	return nil
}

// askCoordinator requests the group's offsets from the coordinator that the cluster names.
func (c *Cluster) askCoordinator(group string) error {
	var at *sarama.Broker
	err := request(c.adminAddr(), func(conn *sarama.Broker) error {
		found, err := conn.FindCoordinator(&sarama.FindCoordinatorRequest{
			Version: 1, CoordinatorKey: group, CoordinatorType: sarama.CoordinatorGroup,
		})
		if err != nil {
			return err
		}
		at = found.Coordinator
		return kafkaError(found.Err)
	})
	if err != nil {
		return err
	}
	return request(at.Addr(), func(conn *sarama.Broker) error {
		offsets, err := conn.FetchOffset(&sarama.OffsetFetchRequest{Version: 2, ConsumerGroup: group})
		if err != nil {
			return err
		}
		return kafkaError(offsets.Err)
	})
}

// adminAddr is the internal address of the first broker that runs.
func (c *Cluster) adminAddr() string {
	for _, b := range c.brokers {
		if b.State() == Running {
			return b.addr(internalListener)
		}
	}
	return c.brokers[0].addr(internalListener)
}

// request opens a connection of its own to addr for one exchange.
func request(addr string, exchange func(*sarama.Broker) error) error {
	conn := sarama.NewBroker(addr)
	if err := conn.Open(clientConfig()); err != nil {
		return err
	}
	// Open returns before it is done; Connected waits.
	if _, err := conn.Connected(); err != nil {
		return err
	}
	return errors.Join(exchange(conn), conn.Close())
}

// kafkaError is err as an error: nil for ErrNoError, which is none.
func kafkaError(err sarama.KError) error {
	if err == sarama.ErrNoError {
		return nil
	}
	return err
}
