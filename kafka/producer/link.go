package producer

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/kafka/access"
)

// brokerLink is the connection for produce requests to one broker, one at a time. It is
// guarded by Producer.mu.
type brokerLink struct {
	id   int32
	addr string

	conn     *access.Wire // nil: not connected, as far as is known
	version  int16        // of produce requests
	busy     bool         // a request is under way, or the connection is being made
	askAt    time.Time    // when it has been busy so long that its partitions may have moved
	failures int          // in a row
	retryAt  time.Time    // no new attempt before
	err      error        // of the last failure; nil: none since it took messages
}

// newestProduce is the newest version of produce requests that we send. Newer ones belong
// to transactions whose partitions nobody adds (KIP-890, part 2).
const newestProduce = 10

// busyLong is how long a broker may be busy before the producer checks whether the waiting
// partitions have another leader.
const busyLong = 2 * time.Second

// begin marks l as busy. p.mu is held.
func (l *brokerLink) begin(now time.Time) { l.busy, l.askAt = true, now.Add(busyLong) }

func newBrokerLink(id int32, addr string) *brokerLink { return &brokerLink{id: id, addr: addr} }

// connect makes l's connection, without a batch that would wait for it: a frozen broker
// accepts connections and does not answer, while its partitions may have another leader.
// p.mu is held.
func (p *Producer) connect(l *brokerLink) {
	l.begin(time.Now())
	p.wg.Go(func() {
		wire, version, err := p.dial(l.addr)
		p.mu.Lock()
		defer p.mu.Unlock()
		l.conn, l.version, l.busy = wire, version, false
		if p.links[l.id] != l { // it was dropped before the connection was made
			l.close()
		}
		if err != nil {
			p.recordResult(l, err, time.Now())
			for _, q := range p.active {
				if q.leader == l {
					p.requestTopic(q.topic) // it may have moved
				}
			}
		}
		signal(p.wake)
	})
}

// dial connects and finds out the broker's version of produce requests.
func (p *Producer) dial(addr string) (*access.Wire, int16, error) {
	conn, err := p.connections.Dial("tcp", addr)
	if err != nil {
		return nil, 0, err
	}
	wire := &access.Wire{Conn: conn, Addr: addr, ClientID: p.conf.ClientID, Timeout: p.conf.Net.ReadTimeout}
	versions := kmsg.NewPtrApiVersionsResponse()
	if err := wire.Call(kmsg.NewPtrApiVersionsRequest(), versions); err != nil {
		_ = conn.Close() // the error of the question is the one to report
		return nil, 0, err
	}
	for _, k := range versions.ApiKeys {
		if k.ApiKey == int16(kmsg.Produce) {
			return wire, min(k.MaxVersion, newestProduce), nil
		}
	}
	_ = conn.Close() // it is of no use
	return nil, 0, fmt.Errorf("%s takes no messages: it lists no Produce request", addr)
}

// close closes the connection, if there is one. p.mu is held.
func (l *brokerLink) close() {
	if l.conn != nil {
		_ = l.conn.Conn.Close() // closed by the other side, perhaps
		l.conn = nil
	}
}

// drop closes an obsolete connection as soon as it is not busy. p.mu is held.
func (p *Producer) drop(l *brokerLink) {
	if !l.busy {
		l.close()
	}
}

// produce sends the batches of r and returns the broker's response; nil with acks=0.
func (p *Producer) produce(r *produceRequest) (*kmsg.ProduceResponse, error) {
	request := kmsg.NewPtrProduceRequest()
	request.Version = r.version
	request.TransactionID = p.transactionalID()
	request.Acks = int16(p.conf.Producer.RequiredAcks)
	request.TimeoutMillis = int32(p.conf.Producer.Timeout / time.Millisecond)
	size := 1 << 10
	topics := map[string]int{}
	for _, q := range r.parts {
		i, ok := topics[q.topic]
		if !ok {
			i = len(request.Topics)
			topics[q.topic] = i
			topic := kmsg.NewProduceRequestTopic()
			topic.Topic = q.topic
			request.Topics = append(request.Topics, topic)
		}
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = q.id, q.batch.encoded
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, part)
		size += len(q.batch.encoded) + len(q.topic) + 64
	}
	frame := p.limits.pool.get(size)
	defer p.limits.pool.put(frame)
	if request.Acks == 0 {
		return nil, r.conn.CallIn(frame, request, nil)
	}
	response := kmsg.NewPtrProduceResponse()
	return response, r.conn.CallIn(frame, request, response)
}

// signal fills a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
