package producer

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

	open     bool      // the connection stands, as far as is known
	busy     bool      // a request is under way, or the connection is being made
	askAt    time.Time // when it has been busy for so long that its partitions may have moved
	failures int       // in a row
	retryAt  time.Time // no new attempt before
	err      error     // of the last failure; nil: none since it took messages
}

// busyLong is how long a broker may be busy before those whose messages wait behind
// that ask whether they have another leader.
const busyLong = 2 * time.Second

// begin notes that l is busy. p.mu is held.
func (l *brokerLink) begin(now time.Time) { l.busy, l.askAt = true, now.Add(busyLong) }

func newBrokerLink(id int32, addr string) *brokerLink {
	return &brokerLink{id: id, addr: addr, broker: sarama.NewBroker(addr)}
}

// connect makes l's connection. No batch waits in it: a broker that is frozen takes
// connections and says nothing, for several times socket_timeout, while its
// partitions have got another leader. p.mu is held.
func (p *Producer) connect(l *brokerLink) {
	l.begin(time.Now())
	p.wg.Go(func() {
		_ = l.broker.Open(p.sarama) // an open one says so
		_, err := l.broker.Connected()
		if err != nil {
			_ = l.broker.Close() // "not connected" is fine
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		l.open, l.busy = err == nil, false
		if p.links[l.id] != l { // it was dropped before the connection was made
			l.open = false
			p.drop(l)
		}
		if err != nil {
			p.noteLink(l, err, time.Now())
			for _, q := range p.active {
				if q.leader == l {
					p.wantTopic(q.topic) // it may have moved
				}
			}
		}
		poke(p.wake)
	})
}
