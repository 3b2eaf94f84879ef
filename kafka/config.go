package kafka

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// This file is the one place where sarama's settings are made (layout.TestSaramaIsConfiguredInOneFile).

// Config holds the settings of a client: sarama's, and the Access to the cluster. Copies are
// independent. sarama's TLS and SASL are off: connections come from Access, so that rotated
// certificates are read, one login is enough, and waiting can be interrupted.
type Config struct {
	sarama.Config
	Access *access.Access
	Fetch  FetchConfig // of consumers
}

// FetchConfig holds the settings of package fetch for the partitions of a membership: sarama fetches
// nothing.
type FetchConfig struct {
	ReadCommitted        bool
	Rack                 string
	Backoff              time.Duration // 0: the default
	MaxBytesPerPartition int
}

// SaramaConfig returns sarama's settings with the connections of d. An answer may take as long
// as within, or socket_timeout if that is 0.
func (c *Config) SaramaConfig(d *access.Dialer, within time.Duration) *sarama.Config {
	conf := c.Config
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, d
	if within > 0 {
		conf.Net.ReadTimeout = within
	}
	return &conf
}

// NewConfig returns the settings that all clients share. Its Version is the newest that sarama
// knows: sarama uses the version of each request that the broker supports (KIP-35), and
// NewClient refuses brokers that are too old.
func NewConfig(a *access.Access) *Config {
	conf := &Config{Config: *sarama.NewConfig(), Access: a}
	c := a.Config()
	conf.ClientID = c.ClientID
	conf.Version = sarama.MaxVersion
	conf.ApiVersionsRequest = true
	conf.MetricRegistry = a.Metrics()

	conf.Metadata.Full = false                   // only the topics we use, not the whole cluster's
	conf.Metadata.AllowAutoTopicCreation = false // as librdkafka's consumer; its producer allows it
	conf.Metadata.RefreshFrequency = c.TopicMetadataRefreshInterval
	conf.Metadata.Retry.Max = 3
	conf.Metadata.Retry.Backoff = 250 * time.Millisecond

	timeout := a.SocketTimeout()
	conf.Net.DialTimeout = timeout
	conf.Net.ReadTimeout = timeout
	conf.Net.WriteTimeout = timeout
	conf.Admin.Timeout = timeout
	return conf
}

// ConsumerOptions holds the settings that differ between the memberships of a worker.
type ConsumerOptions struct {
	// MaxBytesPerPartition of the subscription; 0: 1 MiB, upstream's default.
	MaxBytesPerPartition int
	// ReadCommitted insists on isolation level read_committed, as a consumer
	// with transactions needs. It is the default anyway, as in librdkafka.
	ReadCommitted bool
	// Properties are the subscription's AdditionalConfig under librdkafka's
	// names. They beat the key `consumer`.
	Properties map[string]string
	// WrapStrategy, if not nil, wraps each assignment strategy.
	WrapStrategy func(sarama.BalanceStrategy) sarama.BalanceStrategy
}

// DefaultMaxBytesPerPartition is upstream's max_bytes_per_partition.
const DefaultMaxBytesPerPartition = 1 << 20

// ConsumerConfig returns the configuration of one consumer group membership.
func ConsumerConfig(a *access.Access, opts ConsumerOptions) (*Config, error) {
	props, err := config.SubscriptionProperties(a.Config().Consumer, opts.Properties)
	if err != nil {
		return nil, &access.ConfigError{Key: "consumer", Err: err}
	}
	if a, err = a.With(props); err != nil {
		return nil, err
	}
	c, conf := a.Config(), NewConfig(a)
	chosen, err := balanceStrategies(c.PartitionAssignmentStrategy)
	if err != nil {
		return nil, err
	}
	if opts.WrapStrategy != nil {
		for i, s := range chosen {
			chosen[i] = opts.WrapStrategy(s)
		}
	}
	g := &conf.Consumer.Group
	g.Rebalance.GroupStrategies = chosen
	g.Rebalance.Timeout = c.MaxPollInterval // as Java and librdkafka: how long a call may hold up a rebalance
	g.Session.Timeout = c.SessionTimeout
	g.Heartbeat.Interval = c.HeartbeatInterval
	// sarama waits this long whenever the coordinator moves or another member
	// joins while the group settles; its default of 2 s makes every such start
	// 2 s slower.
	g.Rebalance.Retry.Backoff = 250 * time.Millisecond
	g.Rebalance.Retry.Max = 12
	conf.Consumer.Return.Errors = true
	conf.Consumer.Offsets.AutoCommit.Enable = false     // the worker commits itself
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest // sarama finds it in range: see GroupClient
	conf.Consumer.Retry.Backoff = 1000 * time.Hour      // sarama must not retry fetches: likewise
	conf.ChannelBufferSize = 16

	applyShared(conf, props)
	conf.Fetch = FetchConfig{
		ReadCommitted:        props.IsolationLevel != "read_uncommitted", // librdkafka's default
		Rack:                 props.ClientRack,
		Backoff:              props.FetchErrorBackoff,
		MaxBytesPerPartition: cmp.Or(props.MaxPartitionFetchBytes, opts.MaxBytesPerPartition, DefaultMaxBytesPerPartition),
	}
	if opts.ReadCommitted && !conf.Fetch.ReadCommitted {
		return nil, &access.ConfigError{Key: "consumer", Problem: "isolation.level=read_uncommitted does not go with transactions: leave it out"}
	}
	return conf, nil
}

// SetInstanceID makes the member of the client's group a static one (KIP-345). Call it before
// the group is created.
func (c *Client) SetInstanceID(id string) {
	c.Client.Config().Consumer.Group.InstanceId = id // the client's own copy
}

// strategies are the values of partition_assignment_strategy. Each membership creates its
// own, because sticky ones keep state.
var strategies = map[string]func() sarama.BalanceStrategy{
	"range":              sarama.NewBalanceStrategyRange,
	"roundrobin":         sarama.NewBalanceStrategyRoundRobin,
	"sticky":             sarama.NewBalanceStrategySticky,
	"cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky,
}

// balanceStrategies makes the strategies that are named.
func balanceStrategies(names []string) ([]sarama.BalanceStrategy, error) {
	var out []sarama.BalanceStrategy
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			newStrategy := strategies[name]
			if newStrategy == nil {
				return nil, &access.ConfigError{Key: "partition_assignment_strategy",
					Problem: fmt.Sprintf("unknown strategy %q: use some of %s", name, strings.Join(slices.Sorted(maps.Keys(strategies)), ", "))}
			}
			out = append(out, newStrategy())
		}
	}
	if len(out) == 0 { // upstream's default
		out = append(out, sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategyRoundRobin())
	}
	return out, nil
}

// Backoff of a producer's retries: librdkafka's retry.backoff.ms doubling to
// its retry.backoff.max.ms.
const (
	produceBackoffMin = 100 * time.Millisecond
	produceBackoffMax = time.Second
)

// ProducerConfig returns the configuration of an idempotent producer, whose messages are
// distributed and queued by package producer.
func ProducerConfig(a *access.Access) (*Config, error) {
	props, err := config.ProducerProperties(a.Config().Producer)
	if err != nil {
		return nil, &access.ConfigError{Key: "producer", Err: err}
	}
	if a, err = a.With(props); err != nil {
		return nil, err
	}
	c, conf := a.Config(), NewConfig(a)
	conf.Metadata.AllowAutoTopicCreation = true // as librdkafka's producer
	conf.Net.MaxOpenRequests = 1                // sarama's condition for Idempotent

	p := &conf.Producer
	p.RequiredAcks = sarama.WaitForAll
	p.Idempotent = true
	p.Return.Successes = true
	p.Return.Errors = true
	// How long the broker may wait for its followers; below the time we wait for
	// the broker, so that it is the broker who says what went wrong.
	p.Timeout = min(30*time.Second, conf.Net.ReadTimeout*9/10)
	p.MaxMessageBytes = DefaultMaxMessage
	p.Flush.Frequency = 5 * time.Millisecond       // its linger.ms
	p.Flush.MaxMessages = 10_000                   // its batch.num.messages
	p.Retry.BackoffFunc = produceBackoff           //
	p.Retry.Max = produceRetries(c.MessageTimeout) // message_timeout decides, not a number of tries

	if err := applyProducer(conf, props); err != nil {
		return nil, err
	}
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	return conf, nil
}

// produceBackoff is the pause before retry number retries (from 1).
func produceBackoff(retries, _ int) time.Duration {
	return doubled(produceBackoffMin, produceBackoffMax, retries)
}

// produceRetries is the number of retries that fit into message_timeout if each fails at once.
func produceRetries(timeout time.Duration) int {
	n := 0
	for spent := time.Duration(0); spent < timeout; spent += produceBackoff(n, 0) {
		n++
	}
	return max(n, 1) // sarama's condition for Idempotent
}

// DefaultMaxMessage is librdkafka's message.max.bytes.
const DefaultMaxMessage = 1_000_000

// applyShared takes over what concerns every client.
func applyShared(conf *Config, p config.Properties) {
	if p.ConnectTimeout > 0 {
		conf.Net.DialTimeout = p.ConnectTimeout
	}
	if p.MaxInFlight > 0 {
		conf.Net.MaxOpenRequests = p.MaxInFlight
	}
	conf.RackID = p.ClientRack
	if p.AllowAutoCreateTopics != nil {
		conf.Metadata.AllowAutoTopicCreation = *p.AllowAutoCreateTopics
	}
	if p.RetryBackoff > 0 || p.RetryBackoffMax > 0 {
		first, longest := backoffBounds(p, conf.Metadata.Retry.Backoff)
		conf.Metadata.Retry.BackoffFunc = func(retries, _ int) time.Duration { return doubled(first, longest, retries) }
		conf.Consumer.Group.Rebalance.Retry.Backoff = first
	}
}

// backoffBounds are the first and the longest pause between retries.
func backoffBounds(p config.Properties, first time.Duration) (time.Duration, time.Duration) {
	if p.RetryBackoff > 0 {
		first = p.RetryBackoff
	}
	longest := produceBackoffMax
	if p.RetryBackoffMax > 0 {
		longest = p.RetryBackoffMax
	}
	return first, max(first, longest)
}

// doubled is first, doubled with each retry but the first (numbered 1), and at
// most longest.
func doubled(first, longest time.Duration, retries int) time.Duration {
	d := first
	for range retries - 1 {
		if d *= 2; d >= longest {
			return longest
		}
	}
	return d
}

func applyProducer(conf *Config, p config.Properties) error {
	applyShared(conf, p)
	out := &conf.Producer
	if p.Acks != nil {
		out.RequiredAcks = sarama.RequiredAcks(*p.Acks)
	}
	if p.Retries != nil {
		out.Retry.Max = *p.Retries
	}
	// Without a word on it, idempotence gives way to what it does not go with.
	out.Idempotent = out.RequiredAcks == sarama.WaitForAll && out.Retry.Max > 0
	if p.Idempotence != nil {
		if *p.Idempotence && !out.Idempotent {
			return &access.ConfigError{Key: "producer", Problem: "enable.idempotence=true needs acks=all and retries of at least 1"}
		}
		out.Idempotent = *p.Idempotence
	}
	if out.Idempotent {
		conf.Net.MaxOpenRequests = 1 // sarama's condition
	}
	if p.Linger != nil {
		out.Flush.Frequency = *p.Linger
	}
	if p.BatchBytes > 0 {
		out.Flush.Bytes = p.BatchBytes
	}
	if p.BatchMessages > 0 {
		out.Flush.MaxMessages = p.BatchMessages
	}
	if p.MaxMessageBytes > 0 {
		out.MaxMessageBytes = p.MaxMessageBytes
	}
	if p.RequestTimeout > 0 {
		out.Timeout = p.RequestTimeout
		// The broker times out first, so that the error says that its replicas are too slow.
		conf.Net.ReadTimeout = max(conf.Net.ReadTimeout, p.RequestTimeout+time.Second)
	}
	out.Transaction.Timeout = transactionTimeout
	if p.TransactionTimeout > 0 {
		out.Transaction.Timeout = p.TransactionTimeout
	}
	if p.RetryBackoff > 0 || p.RetryBackoffMax > 0 {
		first, longest := backoffBounds(p, produceBackoffMin)
		out.Retry.BackoffFunc = func(retries, _ int) time.Duration { return doubled(first, longest, retries) }
	}
	return nil
}

// transactionTimeout is shorter than librdkafka's and Java's minute: a transaction is open at the
// brokers for milliseconds (see TxnProducer), and the open transaction of a dead process blocks
// readers and the next owner of its partitions for this long.
const transactionTimeout = 15 * time.Second
