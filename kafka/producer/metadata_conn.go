package producer

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// metadataConn is a Producer's connection for metadata and its producer id. It switches to
// another broker if one does not answer.
type metadataConn struct {
	p      *Producer
	broker *sarama.Broker
	next   int              // index of the address to try next
	failed map[string]error // addresses that did not answer since one did
	silent int              // how many of these answered nothing in time, in a row
	served bool             // the connection in use has answered before
}

// controlLoop requests what the dispatch loop needs: partitions and leaders of topics, and
// a producer id. It also refreshes metadata.
func (p *Producer) controlLoop() {
	defer p.wg.Done()
	c := &metadataConn{p: p, failed: map[string]error{}}
	defer c.close()
	refresh := time.NewTicker(max(p.refresh, time.Second))
	defer refresh.Stop()
	failures := 0
	for {
		again, err := c.round()
		pause := time.Duration(0)
		switch {
		case p.ctx.Err() != nil:
			return
		case errors.Is(err, sarama.ErrConcurrentTransactions):
			pause = concurrentBackoff
		case err != nil:
			failures++
			pause = p.backoff(failures)
		case again:
			failures, pause = 0, p.backoff(1)
		default:
			failures = 0
		}
		asked, paused := p.ask, (<-chan time.Time)(nil)
		if pause > 0 {
			asked, paused = nil, time.After(pause)
		}
		select {
		case <-paused:
		case <-asked:
		case <-refresh.C:
			p.requestAll()
		case <-p.ctx.Done():
			return
		}
	}
}

// needsID reports whether a producer id is needed; a transactional producer gets its id
// from Begin. p.mu is held.
func (p *Producer) needsID() bool { return p.conf.Producer.Idempotent && p.txn == nil && !p.id.valid }

// requestAll requests the metadata of all topics.
func (p *Producer) requestAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requestAllLocked()
}

func (p *Producer) requestAllLocked() {
	for _, t := range p.topics {
		t.wanted = true
	}
}

// round requests everything that is wanted, and at least checks that the broker answers.
// again is true if the answer was: not yet.
func (c *metadataConn) round() (again bool, err error) {
	p := c.p
	p.mu.Lock()
	var topics []string
	for name, t := range p.topics {
		if t.wanted {
			t.missed = false
			topics = append(topics, name)
		}
	}
	needID := p.needsID()
	p.mu.Unlock()
	again, err = c.request(topics, needID)
	if err != nil && c.served && access.ClosedByPeer(err) {
		// Brokers and load balancers close idle connections: that is no failure unless
		// the same address does not answer now.
		_ = c.broker.Close()
		c.served = false
		again, err = c.request(topics, needID)
	}
	if err != nil {
		return false, c.brokerFailed(err)
	}
	c.answered()
	signal(p.wake)
	return again, p.registerPartitions()
}

// request asks the broker in use for topics, and for a producer id if need be.
func (c *metadataConn) request(topics []string, needID bool) (again bool, err error) {
	broker := c.open()
	if _, err := broker.Connected(); err != nil {
		return false, err
	}
	useless := false
	if len(topics) > 0 { // sarama takes none for all
		if useless, err = c.askTopics(broker, topics); err != nil {
			return false, err
		}
	}
	if needID {
		if again, err = c.askID(broker); err != nil {
			return false, err
		}
	}
	return again || useless, nil
}

// askTopics requests metadata of topics; again is what applyMetadata says.
func (c *metadataConn) askTopics(broker *sarama.Broker, topics []string) (again bool, err error) {
	p := c.p
	req := sarama.NewMetadataRequest(p.conf.Version, topics)
	req.AllowAutoTopicCreation = p.conf.Metadata.AllowAutoTopicCreation
	resp, err := broker.GetMetadata(req)
	if err != nil {
		return false, err
	}
	if len(resp.Brokers) == 0 { // KAFKA-7924
		return false, errors.New("the broker is starting and knows of no brokers yet")
	}
	ended, again := p.applyMetadata(resp, topics, time.Now())
	p.report(ended)
	return again, nil
}

// askID requests a producer id. A refusal is final for the messages that wait for it;
// later messages cause a new request.
func (c *metadataConn) askID(broker *sarama.Broker) (again bool, err error) {
	p := c.p
	req := &sarama.InitProducerIDRequest{Version: initProducerIDVersion(p.conf.Version), ProducerID: -1, ProducerEpoch: -1}
	resp, err := broker.InitProducerID(req)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	p.idErr = asError(resp.Err)
	if p.idErr == nil {
		p.id = producerID{id: resp.ProducerID, epoch: resp.ProducerEpoch, valid: true}
	}
	p.mu.Unlock()
	if classify(resp.Err) != outcomeRefused {
		return resp.Err != sarama.ErrNoError, nil
	}
	err = fmt.Errorf("idempotent producing: %w (grant IdempotentWrite on the cluster, or Write on the topic from Kafka 2.8 on)", resp.Err)
	p.report(p.refuseUnidentified(err))
	return false, nil
}

// refuseUnidentified removes the messages that need a producer id.
func (p *Producer) refuseUnidentified(err error) []result {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ended []result
	for _, q := range p.active {
		if q.inFlight || q.producer.valid {
			continue
		}
		entries, maybe := q.takeAll()
		for i, half := range [][]entry{entries[:maybe], entries[maybe:]} {
			if len(half) > 0 {
				ended = append(ended, result{entries: half, part: q.id, offset: -1, err: &DeliveryError{
					Kind: DeliveryRefused, Topic: q.topic, Partition: q.id, MaybeDelivered: i == 0, Err: err}})
			}
		}
	}
	return ended
}

// initProducerIDVersion is the newest version of the request that the
// configured protocol version has.
func initProducerIDVersion(v sarama.KafkaVersion) int16 {
	switch {
	case v.IsAtLeast(sarama.V2_7_0_0):
		return 4
	case v.IsAtLeast(sarama.V2_5_0_0):
		return 3
	case v.IsAtLeast(sarama.V2_4_0_0):
		return 2
	}
	return 1
}

// open returns the broker in use or, after a failure, the next one of those in the metadata and
// in the configuration.
func (c *metadataConn) open() *sarama.Broker {
	if c.broker == nil {
		addrs := c.p.addresses()
		c.broker = sarama.NewBroker(addrs[c.next%len(addrs)])
		c.next++
	}
	// Another broker can answer as well. Longer after each timeout, in case all are slow.
	within := min(c.p.conf.Net.ReadTimeout, access.FirstAnswer<<min(c.silent, 8))
	_ = c.broker.Open(c.p.conf.SaramaConfig(c.p.connections, within)) // an open one says so; Connected tells of a failure
	return c.broker
}

// addresses are the configured brokers and all brokers in metadata.
func (p *Producer) addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := slices.Clone(p.seeds)
	for _, l := range p.links {
		if !slices.Contains(addrs, l.addr) {
			addrs = append(addrs, l.addr)
		}
	}
	slices.Sort(addrs)
	return addrs
}

func (c *metadataConn) close() {
	if c.broker != nil {
		_ = c.broker.Close() // "not connected" is fine
		c.broker = nil
	}
}

// brokerFailed notes that the broker in use does not answer; when none does, the log
// says so once.
func (c *metadataConn) brokerFailed(err error) error {
	p := c.p
	err = p.conf.Access.NoteResult(c.broker.Addr(), err)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.silent++
	}
	// Close interrupts requests, which says nothing of the broker: keep its last error.
	if addr := c.broker.Addr(); p.ctx.Err() == nil || c.failed[addr] == nil {
		c.failed[addr] = err
	}
	_ = c.broker.Close() // "not connected" is fine
	c.broker, c.served = nil, false
	all := &access.UnreachableError{Addrs: p.addresses()}
	for _, addr := range all.Addrs {
		why := c.failed[addr]
		if why == nil {
			return err // not all were asked
		}
		all.Errs = append(all.Errs, why)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr, p.reached = all, false
	p.notify()
	if !p.silent && p.outstanding > 0 && p.ctx.Err() == nil {
		p.silent = true
		p.log.WithField("error", all).Warn("messages wait")
	}
	return all
}

// answered records that a broker answers.
func (c *metadataConn) answered() {
	p := c.p
	clear(c.failed)
	c.silent, c.served = 0, true
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		p.silent = false
		p.log.WithField("address", c.broker.Addr()).Info("a broker is reachable again: messages go on")
	}
	p.lastErr, p.reached = nil, true
	p.notify()
}

// notify wakes those who wait for news. p.mu is held.
func (p *Producer) notify() {
	close(p.news)
	p.news = make(chan struct{})
}
