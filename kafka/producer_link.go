package kafka

import (
	"time"

	"github.com/IBM/sarama"
)

// brokerLink is the connection over which one broker is sent messages. It is
// guarded by Producer.mu but for the broker, which belongs to the one request
// under way.
type brokerLink struct {
	id     int32
	addr   string
	broker *sarama.Broker

	busy     bool      // a request is under way
	failures int       // in a row
	retryAt  time.Time // no new attempt before
}

func newBrokerLink(id int32, addr string) *brokerLink {
	return &brokerLink{id: id, addr: addr, broker: sarama.NewBroker(addr)}
}
