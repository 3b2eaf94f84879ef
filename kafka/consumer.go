package kafka

import (
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// ConsumerOptions is what differs between the memberships of one worker.
type ConsumerOptions struct {
	// InstanceID makes the member a static one (KIP-345); empty: dynamic.
	InstanceID string
	// MaxBytesPerPartition of the subscription; 0: 1 MiB, upstream's default.
	MaxBytesPerPartition int
	// ReadCommitted insists on isolation level read_committed, as a consumer
	// with transactions needs. It is the default anyway, as in librdkafka.
	ReadCommitted bool
	// Properties are the subscription's AdditionalConfig under librdkafka's
	// names. They beat the key `consumer`.
	Properties map[string]string
}

// DefaultMaxBytesPerPartition is upstream's max_bytes_per_partition.
const DefaultMaxBytesPerPartition = 1 << 20

// Not settings, since every user's value would be wrong: see NewConfig and the
// comments where they are used.
const (
	maxProcessingTime = 20 * time.Millisecond
	channelBufferSize = 64
)

// ConsumerConfig is Access.Consumer with an access of its own.
func ConsumerConfig(c *config.Config, opts ConsumerOptions) (*sarama.Config, error) {
	a, err := NewAccess(c)
	if err != nil {
		return nil, err
	}
	return a.Consumer(opts)
}

// Consumer returns the configuration of one consumer group membership.
func (a *Access) Consumer(opts ConsumerOptions) (*sarama.Config, error) {
	a, props, err := a.forConsumer(opts.Properties)
	if err != nil {
		return nil, err
	}
	c := a.c
	conf, err := a.Config()
	if err != nil {
		return nil, err
	}
	strategies, err := balanceStrategies(c.PartitionAssignmentStrategy)
	if err != nil {
		return nil, err
	}
	g := &conf.Consumer.Group
	g.InstanceId = opts.InstanceID
	g.Rebalance.GroupStrategies = strategies
	g.Rebalance.Timeout = c.MaxPollInterval // as Java and librdkafka: how long a call may hold up a rebalance
	g.Session.Timeout = c.SessionTimeout
	g.Heartbeat.Interval = c.HeartbeatInterval
	// sarama waits this long whenever the coordinator moves or another member
	// joins while the group settles; its default of 2 s makes every such start
	// 2 s slower.
	g.Rebalance.Retry.Backoff = 250 * time.Millisecond
	g.Rebalance.Retry.Max = 12
	// A committed offset that is out of range goes to where the worker says (see
	// Client.HandleGetOffset), which reports the gap: out of range must never be silent.
	// Otherwise sarama would end the session again and again.
	g.ResetInvalidOffsets = true

	perPartition := opts.MaxBytesPerPartition
	if perPartition <= 0 {
		perPartition = DefaultMaxBytesPerPartition
	}
	conf.Consumer.Fetch.Min = int32(max(c.FetchMinBytes, 1))
	conf.Consumer.Fetch.Default = int32(perPartition)
	// Fetch.Max stays 0: with a limit sarama skips a record above it.
	conf.Consumer.Fetch.MaxBytes = int32(max(c.MaxBytes, 1))
	conf.Consumer.MaxWaitTime = max(c.MaxWaitTime, time.Millisecond)
	conf.Consumer.Retry.Backoff = 250 * time.Millisecond
	conf.Consumer.Return.Errors = true
	conf.Consumer.Offsets.AutoCommit.Enable = false     // the worker has a commit loop of its own
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest // which one that is the worker says
	conf.Consumer.IsolationLevel = sarama.ReadCommitted // librdkafka's default

	// One slow partition stalls the others of its broker until a send has been
	// blocked for this long (sarama's subscriptionConsumer), so it is short. The
	// pump of a claim takes at once or not at all; what is buffered here is what
	// a revoked claim still hands out.
	conf.Consumer.MaxProcessingTime = maxProcessingTime
	conf.ChannelBufferSize = channelBufferSize

	applyConsumer(conf, props)
	if opts.ReadCommitted && conf.Consumer.IsolationLevel != sarama.ReadCommitted {
		return nil, &ConfigError{Key: "consumer", Problem: "isolation.level=read_uncommitted does not go with transactions: leave it out"}
	}
	return conf, nil
}

// balanceStrategies makes the strategies anew at each call: sticky ones keep
// state and belong to one group member.
func balanceStrategies(names []string) ([]sarama.BalanceStrategy, error) {
	var out []sarama.BalanceStrategy
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			switch strings.TrimSpace(name) {
			case "":
			case "range":
				out = append(out, sarama.NewBalanceStrategyRange())
			case "roundrobin":
				out = append(out, sarama.NewBalanceStrategyRoundRobin())
			case "sticky":
				out = append(out, sarama.NewBalanceStrategySticky())
			case "cooperative-sticky":
				out = append(out, sarama.NewBalanceStrategyCooperativeSticky())
			default:
				return nil, &ConfigError{Key: "partition_assignment_strategy",
					Problem: fmt.Sprintf("unknown strategy %q: use range, roundrobin, sticky or cooperative-sticky", name)}
			}
		}
	}
	if len(out) == 0 { // upstream's default
		out = append(out, sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategyRoundRobin())
	}
	return out, nil
}
