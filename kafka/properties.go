package kafka

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// forConsumer returns the access with the properties of `consumer` and of a
// subscription's AdditionalConfig in force, and those that are no keys.
func (a *Access) forConsumer(additional map[string]string) (*Access, config.Properties, error) {
	props, err := config.SubscriptionProperties(a.c.Consumer, additional)
	if err != nil {
		return nil, props, &ConfigError{Key: "consumer", Err: err}
	}
	a, err = a.with(props)
	return a, props, err
}

// forProducer is forConsumer for the properties of `producer`.
func (a *Access) forProducer() (*Access, config.Properties, error) {
	props, err := config.ProducerProperties(a.c.Producer)
	if err != nil {
		return nil, props, &ConfigError{Key: "producer", Err: err}
	}
	a, err = a.with(props)
	return a, props, err
}

// with returns an access to the configuration that props make of a's. Unless
// they concern security, certificates and tickets remain shared.
func (a *Access) with(props config.Properties) (*Access, error) {
	if len(props.Keys()) == 0 {
		return a, nil
	}
	c := props.Apply(*a.c)
	if accessSettings(&c) != accessSettings(a.c) {
		return NewAccess(&c)
	}
	b := *a
	b.c = &c
	return &b, nil
}

// accessSettings are the settings that an Access is made from.
func accessSettings(c *config.Config) any {
	return struct {
		protocol, mechanism, user, password, tokenFile string
		service, principal, kinit, keytab              string
		relogin                                        time.Duration
		files                                          tlsFiles
	}{
		c.SecurityProtocol, c.SASLMechanism, c.SASLUsername, c.SASLPassword, c.SASLOAuthBearerTokenFile,
		c.SASLKerberosServiceName, c.SASLKerberosPrincipal, c.SASLKerberosKinitCmd, c.SASLKerberosKeytab,
		c.SASLKerberosMinTimeBeforeRelogin, newTLSFiles(c),
	}
}

// applyShared takes over what concerns every client.
func applyShared(conf *sarama.Config, p config.Properties) {
	if p.ConnectTimeout > 0 {
		conf.Net.DialTimeout = p.ConnectTimeout
		conf.Net.Proxy.Dialer = newDialer(dialerOf(conf).access, p.ConnectTimeout)
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

func applyConsumer(conf *sarama.Config, p config.Properties) {
	applyShared(conf, p)
	if p.MaxPartitionFetchBytes > 0 {
		conf.Consumer.Fetch.Default = int32(p.MaxPartitionFetchBytes)
	}
	if p.IsolationLevel == "read_uncommitted" {
		conf.Consumer.IsolationLevel = sarama.ReadUncommitted
	}
	if p.FetchErrorBackoff > 0 {
		conf.Consumer.Retry.Backoff = p.FetchErrorBackoff
	}
}

func applyProducer(conf *sarama.Config, p config.Properties) error {
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
			return &ConfigError{Key: "producer", Problem: "enable.idempotence=true needs acks=all and retries of at least 1"}
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
		// The broker is to be the one who says that its replicas are too slow.
		conf.Net.ReadTimeout = max(conf.Net.ReadTimeout, p.RequestTimeout+time.Second)
	}
	if p.CompressionLevel != nil {
		level, err := compressionLevel(out.Compression, *p.CompressionLevel)
		if err != nil {
			return err
		}
		out.CompressionLevel = level
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

// transactionTimeout is short beside librdkafka's and Java's minute: a transaction
// is open at the brokers for milliseconds (see TxnProducer), and what a dead
// process has left open holds up readers, and whoever gets its partitions, until
// this has passed.
const transactionTimeout = 15 * time.Second

// compressionLevel is sarama's level for a codec at librdkafka's: -1 is the
// codec's default, and what is beyond its highest stands for that. sarama has no
// levels for lz4, and snappy knows none.
func compressionLevel(codec sarama.CompressionCodec, level int) (int, error) {
	switch {
	case level < 0:
		return sarama.CompressionLevelDefault, nil
	case codec == sarama.CompressionGZIP:
		return min(level, 9), nil
	case level > 0 && (codec == sarama.CompressionLZ4 || codec == sarama.CompressionSnappy):
		return 0, &ConfigError{Key: "producer", Problem: fmt.Sprintf(
			"compression.level=%d cannot be had with %s: leave it out, or use gzip or zstd", level, codec)}
	}
	return level, nil
}
