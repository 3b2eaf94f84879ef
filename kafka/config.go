package kafka

import (
	"net"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// DefaultPort is appended to brokers written without one, as upstream does.
const DefaultPort = "9092"

// Brokers returns the bootstrap addresses as host:port.
func Brokers(c *config.Config) []string {
	addrs := make([]string, 0, len(c.Brokers))
	for _, b := range c.Brokers {
		if b = strings.TrimSpace(b); b == "" {
			continue
		}
		host, port, err := net.SplitHostPort(b)
		if err != nil { // no port; a bare IPv6 address comes with or without brackets
			host, port = strings.Trim(b, "[]"), ""
		}
		if host == "" {
			host = "localhost" // ":9092" in the manual
		}
		if port == "" {
			port = DefaultPort
		}
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs
}

// NewConfig returns what every client starts from, with an Access of its own; see
// Access.Config.
func NewConfig(c *config.Config) (*sarama.Config, error) {
	a, err := NewAccess(c)
	if err != nil {
		return nil, err
	}
	return a.Config()
}

// Config returns what every client starts from.
//
// The returned value may be shared by several clients and must then not be
// changed any more. Its Version is the newest sarama knows: sarama lowers each
// request to what the broker at hand supports (KIP-35), and NewClient refuses
// brokers that are too old.
func (a *Access) Config() (*sarama.Config, error) {
	c := a.c
	conf := sarama.NewConfig()
	conf.ClientID = c.ClientID
	conf.Version = sarama.MaxVersion
	conf.ApiVersionsRequest = true
	conf.MetricRegistry = a.traffic

	conf.Metadata.Full = false                   // only the topics we use, not the whole cluster's
	conf.Metadata.AllowAutoTopicCreation = false // as librdkafka's consumer; its producer allows it
	conf.Metadata.RefreshFrequency = c.TopicMetadataRefreshInterval
	conf.Metadata.Retry.Max = 3
	conf.Metadata.Retry.Backoff = 250 * time.Millisecond

	timeout := socketTimeout(c)
	conf.Net.DialTimeout = timeout
	conf.Net.ReadTimeout = timeout
	conf.Net.WriteTimeout = timeout
	conf.Admin.Timeout = timeout

	// Our own dialer instead of sarama's: it does TLS and Kerberos as well, so
	// that rotated certificates are picked up and one login is enough, and its
	// connections can be interrupted. Net.TLS stays off.
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = newDialer(a, timeout)
	if a.sasl != nil {
		a.sasl.apply(conf)
	}
	return conf, nil
}

func socketTimeout(c *config.Config) time.Duration {
	if c.SocketTimeout <= 0 {
		return 30 * time.Second // upstream's default
	}
	return c.SocketTimeout
}
