package producer

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// What Close interrupts is not given as the reason why messages were not delivered,
// when the broker has said one.
func TestCloseKeepsTheLastError(t *testing.T) {
	const addr = "127.0.0.1:1"
	log := logrus.New()
	log.SetOutput(io.Discard)
	a, err := access.New(&config.Config{Brokers: []string{addr}}, log)
	if err != nil {
		t.Fatal(err)
	}
	p := &Producer{conf: kafka.NewConfig(a), seeds: []string{addr}, news: make(chan struct{}), log: log}
	p.ctx, p.cancel = context.WithCancel(t.Context())
	c := &metadataConn{p: p, failed: map[string]error{}}
	lost := func(err error) {
		c.broker = sarama.NewBroker(addr)
		c.brokerFailed(err) //nolint:errcheck // it returns what it notes
	}
	lost(errors.New("connection refused"))
	p.cancel()
	lost(context.Canceled)
	if p.lastErr == nil || !strings.Contains(p.lastErr.Error(), "connection refused") {
		t.Errorf("the reason is %v", p.lastErr)
	}
}
