package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// Each key and each librdkafka property ends up where sarama or the fetcher looks for it.
func TestConsumerConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*config.Config)
		opts ConsumerOptions
		got  func(*Config) any
		want any
	}{
		{name: "client_id", set: func(c *config.Config) { c.ClientID = "me" }, got: func(s *Config) any { return s.ClientID }, want: "me"},
		{name: "session_timeout", set: func(c *config.Config) { c.SessionTimeout = 7 * time.Second }, got: func(s *Config) any { return s.Consumer.Group.Session.Timeout }, want: 7 * time.Second},
		{name: "heartbeat_interval", set: func(c *config.Config) { c.HeartbeatInterval = time.Second }, got: func(s *Config) any { return s.Consumer.Group.Heartbeat.Interval }, want: time.Second},
		{name: "max_poll_interval", set: func(c *config.Config) { c.MaxPollInterval = time.Hour }, got: func(s *Config) any { return s.Consumer.Group.Rebalance.Timeout }, want: time.Hour},
		{name: "socket_timeout", set: func(c *config.Config) { c.SocketTimeout = 3 * time.Second }, got: func(s *Config) any {
			return []time.Duration{s.Net.DialTimeout, s.Net.ReadTimeout, s.Net.WriteTimeout}
		}, want: []time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second}},
		{name: "max_bytes", set: func(c *config.Config) { c.MaxBytes = 12345 }, got: func(s *Config) any { return s.Access.Config().MaxBytes }, want: 12345},
		{name: "fetch_min_bytes", set: func(c *config.Config) { c.FetchMinBytes = 9 }, got: func(s *Config) any { return s.Access.Config().FetchMinBytes }, want: 9},
		{name: "max_wait_time", set: func(c *config.Config) { c.MaxWaitTime = 2 * time.Second }, got: func(s *Config) any { return s.Access.Config().MaxWaitTime }, want: 2 * time.Second},
		{name: "topic_metadata_refresh_interval", set: func(c *config.Config) { c.TopicMetadataRefreshInterval = time.Minute }, got: func(s *Config) any { return s.Metadata.RefreshFrequency }, want: time.Minute},
		{name: "assignors", set: func(c *config.Config) {
			c.PartitionAssignmentStrategy = []string{"cooperative-sticky, sticky", "roundrobin"}
		}, got: strategyNames, want: []string{"cooperative-sticky", "sticky", "roundrobin"}},
		{name: "assignors by default", set: func(c *config.Config) { c.PartitionAssignmentStrategy = nil }, got: strategyNames, want: []string{"range", "roundrobin"}},
		{name: "WrapStrategy", opts: ConsumerOptions{WrapStrategy: func(s sarama.BalanceStrategy) sarama.BalanceStrategy { return wrapped{s} }},
			got: func(s *Config) any { return s.Consumer.Group.Rebalance.GroupStrategies[0].(wrapped).Name() }, want: "range"},
		{name: "MaxBytesPerPartition", opts: ConsumerOptions{MaxBytesPerPartition: 77}, got: fetchSize, want: 77},
		{name: "MaxBytesPerPartition by default", got: fetchSize, want: 1 << 20},
		{name: "isolation by default, as librdkafka", got: readCommitted, want: true},
		{name: "start by default, as librdkafka", got: func(s *Config) any { return s.Consumer.Offsets.Initial }, want: sarama.OffsetOldest},
		{name: "no commits of sarama's own", got: func(s *Config) any { return s.Consumer.Offsets.AutoCommit.Enable }, want: false},

		{name: "auto.offset.reset, which is the worker's", opts: additional("auto.offset.reset=latest"), got: func(s *Config) any { return s.Consumer.Offsets.Initial }, want: sarama.OffsetOldest},
		{name: "fetch.message.max.bytes", opts: additional("fetch.message.max.bytes=5000"), got: fetchSize, want: 5000},
		{name: "isolation.level", opts: additional("isolation.level=read_uncommitted"), got: readCommitted, want: false},
		{name: "fetch.error.backoff.ms", opts: additional("fetch.error.backoff.ms=50"), got: func(s *Config) any { return s.Fetch.Backoff }, want: 50 * time.Millisecond},
		{name: "client.rack", opts: additional("client.rack=r1"), got: func(s *Config) any { return []string{s.RackID, s.Fetch.Rack} }, want: []string{"r1", "r1"}},
		{name: "socket.connection.setup.timeout.ms", opts: additional("socket.connection.setup.timeout.ms=2000"), got: func(s *Config) any {
			return s.Net.DialTimeout
		}, want: 2 * time.Second},
		{name: "allow.auto.create.topics", opts: additional("allow.auto.create.topics=true"), got: func(s *Config) any { return s.Metadata.AllowAutoTopicCreation }, want: true},
		{name: "no topics are made by default", got: func(s *Config) any { return s.Metadata.AllowAutoTopicCreation }, want: false},
		{name: "retry.backoff", opts: additional("retry.backoff.ms=10", "retry.backoff.max.ms=30"), got: func(s *Config) any {
			f := s.Metadata.Retry.BackoffFunc
			return []time.Duration{f(1, 9), f(2, 9), f(3, 9)}
		}, want: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}},
		{name: "fetch.wait.max.ms", opts: additional("fetch.wait.max.ms=1500"), got: func(s *Config) any { return s.Access.Config().MaxWaitTime }, want: 1500 * time.Millisecond},
		{name: "consumer key", set: func(c *config.Config) { c.Consumer = []string{"client.rack=a", "isolation.level=read_uncommitted"} },
			opts: additional("client.rack=b"), got: func(s *Config) any { return fmt.Sprint(s.RackID, " ", s.Fetch.ReadCommitted) }, want: "b false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := settings("localhost:9092")
			if tt.set != nil {
				tt.set(c)
			}
			conf, err := consumerConfig(c, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := conf.Validate(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, tt.got(conf)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func additional(list ...string) ConsumerOptions {
	o := ConsumerOptions{Properties: make(map[string]string)}
	for _, item := range list {
		name, value, _ := strings.Cut(item, "=")
		o.Properties[name] = value
	}
	return o
}

func strategyNames(s *Config) any {
	var names []string
	for _, b := range s.Consumer.Group.Rebalance.GroupStrategies {
		names = append(names, b.Name())
	}
	return names
}

// wrapped is a strategy as a caller wraps it.
type wrapped struct{ sarama.BalanceStrategy }

func fetchSize(s *Config) any     { return s.Fetch.MaxBytesPerPartition }
func readCommitted(s *Config) any { return s.Fetch.ReadCommitted }

func TestProducerConfig(t *testing.T) {
	for _, tt := range []struct {
		name       string
		set        func(*config.Config)
		properties []string
		got        func(*sarama.Config) any
		want       any
	}{
		{name: "acknowledged by all, once, in order", got: reliability, want: "-1 true 1"},
		{name: "topics are made by default", got: func(s *sarama.Config) any { return s.Metadata.AllowAutoTopicCreation }, want: true},
		{name: "retries fill message_timeout", set: func(c *config.Config) { c.MessageTimeout = 10 * time.Second }, got: func(s *sarama.Config) any {
			var sum time.Duration
			for i := 1; i <= s.Producer.Retry.Max; i++ {
				sum += s.Producer.Retry.BackoffFunc(i, s.Producer.Retry.Max)
			}
			return sum.Round(time.Second)
		}, want: 11 * time.Second},
		{name: "linger.ms", properties: []string{"linger.ms=20.5"}, got: func(s *sarama.Config) any { return s.Producer.Flush.Frequency }, want: 20500 * time.Microsecond},
		{name: "linger.ms by default", got: func(s *sarama.Config) any { return s.Producer.Flush.Frequency }, want: 5 * time.Millisecond},
		{name: "batch.size", properties: []string{"batch.size=1000"}, got: func(s *sarama.Config) any { return s.Producer.Flush.Bytes }, want: 1000},
		{name: "batch.num.messages", properties: []string{"batch.num.messages=10"}, got: func(s *sarama.Config) any { return s.Producer.Flush.MaxMessages }, want: 10},
		{name: "message.max.bytes", properties: []string{"message.max.bytes=2000000"}, got: func(s *sarama.Config) any { return s.Producer.MaxMessageBytes }, want: 2000000},
		{name: "acks", properties: []string{"acks=1"}, got: reliability, want: "1 false 1"},
		{name: "idempotence off", properties: []string{"enable.idempotence=false"}, got: reliability, want: "-1 false 1"},
		{name: "more in flight", properties: []string{"enable.idempotence=false", "max.in.flight=5"}, got: reliability, want: "-1 false 5"},
		{name: "retries", properties: []string{"retries=3"}, got: func(s *sarama.Config) any { return s.Producer.Retry.Max }, want: 3},
		{name: "no retries", properties: []string{"retries=0"}, got: reliability, want: "-1 false 1"},
		{name: "request.timeout.ms", properties: []string{"request.timeout.ms=60000"}, got: func(s *sarama.Config) any {
			return []time.Duration{s.Producer.Timeout, s.Net.ReadTimeout}
		}, want: []time.Duration{time.Minute, 61 * time.Second}},
		{name: "transaction.timeout.ms", properties: []string{"transaction.timeout.ms=5000"}, got: func(s *sarama.Config) any { return s.Producer.Transaction.Timeout }, want: 5 * time.Second},
		{name: "retry.backoff.ms", properties: []string{"retry.backoff.ms=10"}, got: func(s *sarama.Config) any { return s.Producer.Retry.BackoffFunc(2, 9) }, want: 20 * time.Millisecond},
		{name: "socket.timeout.ms", properties: []string{"socket.timeout.ms=2000"}, got: func(s *sarama.Config) any { return s.Net.ReadTimeout }, want: 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := settings("localhost:9092")
			c.Producer = tt.properties
			if tt.set != nil {
				tt.set(c)
			}
			conf, err := producerConfig(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.got(&conf.Config)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func reliability(s *sarama.Config) any {
	return fmt.Sprint(int(s.Producer.RequiredAcks), s.Producer.Idempotent, " ", s.Net.MaxOpenRequests)
}

func TestConfigProblems(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(*config.Config) error
		key  string
		want string
	}{
		{"strategy", func(c *config.Config) error {
			c.PartitionAssignmentStrategy = []string{"range,sticki"}
			_, err := consumerConfig(c, ConsumerOptions{})
			return err
		}, "partition_assignment_strategy", `partition_assignment_strategy: unknown strategy "sticki": use some of ` + strings.Join(slices.Sorted(maps.Keys(strategies)), ", ")},
		{"consumer property", func(c *config.Config) error {
			c.Consumer = []string{"linger.ms=5"}
			_, err := consumerConfig(c, ConsumerOptions{})
			return err
		}, "consumer", "consumer: linger.ms: is a producer property: put it under producer"},
		{"isolation with transactions", func(c *config.Config) error {
			o := additional("isolation.level=read_uncommitted")
			o.ReadCommitted = true
			_, err := consumerConfig(c, o)
			return err
		}, "consumer", "consumer: isolation.level=read_uncommitted does not go with transactions: leave it out"},
		{"idempotence without acks", func(c *config.Config) error {
			c.Producer = []string{"enable.idempotence=true", "acks=1"}
			_, err := producerConfig(c)
			return err
		}, "producer", "producer: enable.idempotence=true needs acks=all and retries of at least 1"},
		{"no brokers", func(c *config.Config) error {
			c.Brokers = nil
			return try(t, c)
		}, "brokers", "brokers: no broker given: write host:port, several with commas between"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.make(settings("localhost:9092"))
			reason, key, ok := access.Permanent(err)
			if !ok || reason != tt.want || key != tt.key {
				t.Errorf("got  %q, %q, %v\nwant %q, %q", reason, key, ok, tt.want, tt.key)
			}
		})
	}
}

// What `producer` says concerns producers alone.
func TestProducerPropertiesDoNotAffectConsumers(t *testing.T) {
	c := settings("localhost:9092")
	c.Producer = []string{"security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN", "sasl.username=u", "sasl.password=p", "client.id=out"}
	out, err := producerConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	in, err := consumerConfig(c, ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if out.Access.Config().Mechanism() != "PLAIN" || out.ClientID != "out" || in.Access.Config().Mechanism() != "" || in.ClientID != "racecar" {
		t.Errorf("producer: sasl %q, id %s; consumer: sasl %q, id %s", out.Access.Config().Mechanism(), out.ClientID, in.Access.Config().Mechanism(), in.ClientID)
	}
}

// partition_assignment_strategy takes the names of all strategies there are, and no others.
func TestStrategiesMatchTheConfiguration(t *testing.T) {
	key, _ := config.Lookup("partition_assignment_strategy")
	if diff := cmp.Diff(slices.Sorted(slices.Values(key.Enum)), slices.Sorted(maps.Keys(strategies))); diff != "" {
		t.Errorf("the enumeration and what is implemented differ (-config +kafka):\n%s", diff)
	}
	for name, newStrategy := range strategies {
		if got := newStrategy().Name(); got != name {
			t.Errorf("%s is called %s in the group", name, got)
		}
	}
}
