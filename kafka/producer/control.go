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

// control is the connection over which a Producer asks about topics and for its
// id. It moves on to another broker when one does not answer.
type control struct {
	p      *Producer
	broker *sarama.Broker
	next   int              // index of the address to try next
	failed map[string]error // addresses that did not answer since one did
	silent int              // how many of these answered nothing in time, in a row
	served bool             // the connection in use has answered before
}

// controlLoop asks a broker for what the dispatch loop lacks: partitions and
// leaders of topics, and a producer id. It also refreshes what is known.
func (p *Producer) controlLoop() {
	defer p.wg.Done()
	c := &control{p: p, failed: map[string]error{}}
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
			p.wantAll()
		case <-p.ctx.Done():
			return
		}
	}
}

// wantsID reports whether a producer id is needed; that of a transactional
// producer comes with Begin. p.mu is held.
func (p *Producer) wantsID() bool { return p.conf.Producer.Idempotent && p.txn == nil && !p.id.valid }

// wantAll marks every topic to be asked for again.
func (p *Producer) wantAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wantAllLocked()
}

func (p *Producer) wantAllLocked() {
	for _, t := range p.topics {
		t.wanted = true
	}
}

// round asks for everything that is wanted; when nothing is, it makes sure that
// the broker is there. again is true when the answer was: not yet.
func (c *control) round() (again bool, err error) {
	p := c.p
	p.mu.Lock()
	var topics []string
	for name, t := range p.topics {
		if t.wanted {
			t.missed = false
			topics = append(topics, name)
		}
	}
	needID := p.wantsID()
	p.mu.Unlock()
	again, err = c.inquire(topics, needID)
	if err != nil && c.served && access.ClosedByPeer(err) {
		// Brokers and load balancers close connections that have idled: that is no
		// failure, but when the same address does not answer now it is one.
		_ = c.broker.Close()
		c.served = false
		again, err = c.inquire(topics, needID)
	}
	if err != nil {
		return false, c.lost(err)
	}
	c.answered()
	poke(p.wake)
	return again, p.registerPartitions()
}

// inquire asks the broker in use for topics, and for a producer id if need be.
func (c *control) inquire(topics []string, needID bool) (again bool, err error) {
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

// askTopics asks for topics; again is that of learn.
func (c *control) askTopics(broker *sarama.Broker, topics []string) (again bool, err error) {
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
	ended, again := p.learn(resp, topics, time.Now())
	p.report(ended)
	return again, nil
}

// askID asks for a producer id. A refusal is final for the messages that wait
// for it; those that come later make us ask again.
func (c *control) askID(broker *sarama.Broker) (again bool, err error) {
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
	if judge(resp.Err) != outcomeRefused {
		return resp.Err != sarama.ErrNoError, nil
	}
	err = fmt.Errorf("idempotent producing: %w (grant IdempotentWrite on the cluster, or Write on the topic from Kafka 2.8 on)", resp.Err)
	p.report(p.refuseUnidentified(err))
	return false, nil
}

// refuseUnidentified takes out what cannot go without a producer id.
func (p *Producer) refuseUnidentified(err error) []ending {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ended []ending
	for _, q := range p.active {
		if q.inFlight || q.producer.valid {
			continue
		}
		if entries, _ := q.takeAll(); len(entries) > 0 {
			ended = append(ended, ending{entries: entries, part: q.id, offset: -1, err: &DeliveryError{
				Kind: DeliveryRefused, Topic: q.topic, Partition: q.id, Err: err}})
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

// open returns the broker in use, or the next one after a failure: those the
// cluster named and those of the configuration, in turn.
func (c *control) open() *sarama.Broker {
	if c.broker == nil {
		addrs := c.p.addresses()
		c.broker = sarama.NewBroker(addrs[c.next%len(addrs)])
		c.next++
	}
	conf := *c.p.sarama
	// Another one knows it as well; longer with each that is silent, in case all are slow.
	conf.Net.ReadTimeout = min(conf.Net.ReadTimeout, access.FirstAnswer<<min(c.silent, 8))
	_ = c.broker.Open(&conf) // an open one says so; Connected tells of a failure
	return c.broker
}

// addresses are those of the configuration and of all brokers heard of.
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

func (c *control) close() {
	if c.broker != nil {
		_ = c.broker.Close() // "not connected" is fine
		c.broker = nil
	}
}

// lost notes that the broker in use does not answer; when none does, the log
// says so once.
func (c *control) lost(err error) error {
	p := c.p
	err = p.conf.Access.Judge(c.broker.Addr(), err)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.silent++
	}
	// What our own end interrupts says nothing of the broker: its last words stay.
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
	p.tell()
	if !p.silent && p.outstanding > 0 && p.ctx.Err() == nil {
		p.silent = true
		p.log.WithField("error", all).Warn("messages wait")
	}
	return all
}

// answered notes that a broker answers.
func (c *control) answered() {
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
	p.tell()
}

// tell wakes who waits for news. p.mu is held.
func (p *Producer) tell() {
	close(p.news)
	p.news = make(chan struct{})
}
