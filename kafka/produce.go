package kafka

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// Backoff of a producer's retries: librdkafka's retry.backoff.ms doubling to
// its retry.backoff.max.ms.
const (
	produceBackoffMin = 100 * time.Millisecond
	produceBackoffMax = time.Second
)

// ProducerConfig is Access.Producer with an access of its own.
func ProducerConfig(c *config.Config) (*sarama.Config, error) {
	a, err := NewAccess(c)
	if err != nil {
		return nil, err
	}
	return a.Producer()
}

// Producer returns the configuration of an idempotent producer. It needs
// a client of its own, since idempotence allows one open request only. Its
// partitioner is sarama's default; whoever makes the producer installs the
// configured one.
func (a *Access) Producer() (*sarama.Config, error) {
	a, props, err := a.forProducer()
	if err != nil {
		return nil, err
	}
	c := a.c
	conf, err := a.Config()
	if err != nil {
		return nil, err
	}
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
	p.MaxMessageBytes = defaultMaxMessage
	p.Flush.Frequency = 5 * time.Millisecond       // its linger.ms
	p.Flush.MaxMessages = 10_000                   // its batch.num.messages
	p.Retry.BackoffFunc = produceBackoff           //
	p.Retry.Max = produceRetries(c.MessageTimeout) // message_timeout decides, not a number of tries

	switch c.ProducerCompressionCodec {
	case "", "none":
		p.Compression = sarama.CompressionNone
	case "gzip":
		p.Compression = sarama.CompressionGZIP
	case "snappy":
		p.Compression = sarama.CompressionSnappy
	case "lz4":
		p.Compression = sarama.CompressionLZ4
	case "zstd":
		p.Compression = sarama.CompressionZSTD
	default:
		return nil, &ConfigError{Key: "producer_compression_codec",
			Problem: fmt.Sprintf("unknown codec %q: use none, gzip, snappy, lz4 or zstd", c.ProducerCompressionCodec)}
	}
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

// produceRetries is how many retries fit into message_timeout when each fails at once.
func produceRetries(timeout time.Duration) int {
	n := 0
	for spent := time.Duration(0); spent < timeout; spent += produceBackoff(n, 0) {
		n++
	}
	return max(n, 1) // sarama's condition for Idempotent
}

// defaultMaxMessage is librdkafka's message.max.bytes.
const defaultMaxMessage = 1_000_000
