package producer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// This file decides when batches are sent: the dispatch loop starts a produce request
// whenever a broker is free and messages wait for it, and handles the result.

// warnAfter is the number of consecutive failures of a partition before one is logged: a
// leader change causes some.
const warnAfter = 5

// maxRequestBytes bounds one produce request, over all partitions. Its size before
// compression is an estimate.
const maxRequestBytes = 2 << 20

// backoff is the pause after the given number of consecutive failures, 1 or more:
// retry.backoff.ms, doubling up to retry.backoff.max.ms, with librdkafka's ±20 % of jitter.
func (p *Producer) backoff(failures int) time.Duration {
	d := p.conf.Producer.Retry.BackoffFunc(failures, p.conf.Producer.Retry.Max)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// produceRequest is a request in flight.
type produceRequest struct {
	link    *brokerLink
	conn    *access.Wire      // of link
	version int16             // of link
	parts   []*partitionQueue // their batches are in it
	bytes   int
}

// dispatchLoop starts a request whenever a broker is free and messages are waiting for it,
// and fails messages that timed out.
func (p *Producer) dispatchLoop() {
	defer p.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.dropFailed()
		p.expire(time.Now())
		timer.Reset(time.Until(p.dispatch(time.Now())))
		select {
		case <-p.wake:
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// dispatch starts all possible requests and returns when to run again if nothing wakes the
// loop before.
func (p *Producer) dispatch(now time.Time) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next = now.Add(p.timeout) // before that no later message times out
	soon := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, t := range p.topics {
		if len(t.waiting) > 0 {
			soon(p.began.Add(t.waiting[0].deadline))
		}
	}
	requests := map[*brokerLink]*produceRequest{}
	active := p.active[:0]
	for _, q := range p.active {
		if q.empty() {
			q.active = false
			continue
		}
		active = append(active, q)
		if q.inFlight {
			continue
		}
		soon(p.began.Add(q.deadline()))
		at := q.retryAt
		if q.leader != nil && q.leader.retryAt.After(at) {
			at = q.leader.retryAt
		}
		if l := p.linger(q); l.After(at) {
			at = l
		}
		switch {
		case at.After(now):
			soon(at)
		case q.leader == nil:
			p.requestTopic(q.topic)
		case q.leader.busy && q.leader.askAt.After(now):
			soon(q.leader.askAt)
		case q.leader.busy:
			p.requestTopic(q.topic)
			soon(now.Add(busyLong))
		case !p.admits(q):
		case !p.assignProducerID(q):
			signal(p.ask)
		case q.leader.conn == nil:
			p.connect(q.leader)
		default:
			p.addTo(requests, q)
		}
	}
	clear(p.active[len(active):])
	p.active = active
	if len(active) > 1 { // who came last comes first the next time
		p.active = append(active[1:], active[0])
	}
	for l, r := range requests {
		l.begin(now)
		p.wg.Add(1)
		go p.send(r)
	}
	for _, l := range p.links {
		if l.busy && !l.askAt.After(now) {
			l.askAt = now.Add(busyLong)
		}
		if l.busy { // no message that comes meanwhile wakes the loop
			soon(l.askAt)
		}
	}
	return next
}

// linger is the time until which q waits for more messages (linger.ms; sarama:
// Flush.Frequency). Zero: it does not.
func (p *Producer) linger(q *partitionQueue) time.Time {
	f := p.conf.Producer.Flush
	if f.Frequency == 0 || q.batch != nil || q.skipLinger || p.flushing > 0 || p.closed || len(q.queue) > 1 ||
		q.bytes >= p.limits.bytes || f.MaxMessages > 0 && q.count >= f.MaxMessages {
		return time.Time{}
	}
	return p.began.Add(q.deadline() + f.Frequency - p.timeout)
}

// batchBytes bounds a batch: batch.size, or else the maximum size of a message.
func batchBytes(conf *kafka.Config) int {
	if b := conf.Producer.Flush.Bytes; b > 0 {
		return min(b, conf.Producer.MaxMessageBytes)
	}
	return conf.Producer.MaxMessageBytes
}

// assignProducerID gives q a producer id if it needs one, and reports whether it has what it needs.
func (p *Producer) assignProducerID(q *partitionQueue) bool {
	if q.producer.valid || !p.conf.Producer.Idempotent {
		return true
	}
	if !p.id.valid {
		return false
	}
	q.producer = p.id
	q.renumber()
	return true
}

// addTo adds q's batch to the request to its leader if it fits.
func (p *Producer) addTo(requests map[*brokerLink]*produceRequest, q *partitionQueue) {
	r := requests[q.leader]
	if r == nil {
		r = &produceRequest{link: q.leader, conn: q.leader.conn, version: q.leader.version}
		requests[q.leader] = r
	}
	bytes := int(p.ratio * float64(q.first().bytes()))
	if r.bytes > 0 && r.bytes+bytes > maxRequestBytes {
		return
	}
	q.take()
	q.inFlight = true
	r.parts = append(r.parts, q)
	r.bytes += bytes
}

// send sends one request. Its batches are in flight, so nothing else touches them.
func (p *Producer) send(r *produceRequest) {
	defer p.wg.Done()
	err := p.seal(r)
	if err != nil {
		p.complete(r, nil, err)
		return
	}
	transactional := p.transactionalID() != nil
	for _, q := range r.parts {
		if p.conf.Producer.Idempotent {
			q.batch.setSequence(q.producer.id, q.producer.epoch, q.sequence, transactional)
		} else {
			q.batch.setSequence(-1, -1, -1, false)
		}
	}
	resp, err := p.produce(r)
	p.complete(r, resp, err)
}

// seal seals the batches of r.
func (p *Producer) seal(r *produceRequest) (err error) {
	var compress compressor
	if p.codec.make != nil {
		if made, ok := p.compressors.Get().(compressor); ok {
			compress = made
		} else if compress, err = p.codec.make(p.level); err != nil {
			return err
		}
		defer p.compressors.Put(compress)
	}
	for _, q := range r.parts {
		if err := q.batch.seal(p.limits.pool, p.codec, compress); err != nil {
			return err
		}
	}
	return nil
}

// complete applies the response to a request, reports results, and frees the broker and
// the partitions.
func (p *Producer) complete(r *produceRequest, resp *kmsg.ProduceResponse, err error) {
	now := time.Now()
	p.mu.Lock()
	p.recordResult(r.link, err, now)
	if resp != nil && resp.ThrottleMillis > 0 { // KIP-219
		r.link.retryAt = now.Add(time.Duration(resp.ThrottleMillis) * time.Millisecond)
	}
	var ended []result
	wire, raw := 0, 0
	for _, q := range r.parts {
		wire, raw = wire+len(q.batch.encoded), raw+len(q.batch.buf)
		blockErr, offset := err, int64(-1)
		if err == nil {
			offset, blockErr = answerFor(resp, q)
		}
		if e, ok := p.applyAnswer(q, offset, blockErr, now); ok {
			ended = append(ended, e)
		}
		if q.leader != nil && q.leader != r.link {
			q.retryAt = time.Time{} // as in applyTopic, which was before the answer
		}
	}
	p.ratio = float64(wire) / float64(raw)
	p.mu.Unlock()
	p.report(ended)
	p.mu.Lock()
	for _, q := range r.parts {
		q.inFlight = false
	}
	r.link.busy = false
	if p.links[r.link.id] != r.link {
		r.link.close()
	}
	p.mu.Unlock()
	signal(p.wake)
}

// answerFor finds the answer to q's batch; a nil error means stored.
func answerFor(resp *kmsg.ProduceResponse, q *partitionQueue) (int64, error) {
	if resp == nil { // acks=0: nobody answers
		return -1, nil
	}
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			if a := &t.Partitions[i]; t.Topic == q.topic && a.Partition == q.id {
				return answerOf(a)
			}
		}
	}
	return -1, sarama.ErrIncompleteResponse
}

func answerOf(a *kmsg.ProduceResponseTopicPartition) (int64, error) {
	code := sarama.KError(a.ErrorCode)
	switch {
	case code == sarama.ErrNoError:
		return a.BaseOffset, nil
	case a.ErrorMessage != nil:
		return -1, fmt.Errorf("%w (%s)", code, *a.ErrorMessage)
	}
	return -1, code
}

// applyAnswer updates q after err for its batch. It returns the result of the batch's
// messages if it is final. p.mu is held.
func (p *Producer) applyAnswer(q *partitionQueue, offset int64, err error, now time.Time) (result, bool) {
	var code sarama.KError
	fate := outcomeRetry
	switch {
	case err == nil:
		fate = outcomeDone
	case errors.As(err, &code):
		fate = classify(code)
	}
	switch fate {
	case outcomeDone:
		return result{entries: q.done(), part: q.id, offset: offset}, true
	case outcomeRefused:
		if p.splits(q, code) {
			q.split()
			return result{}, false
		}
		return q.giveUp(DeliveryRefused, err), true
	case outcomeNewID:
		if p.txn != nil {
			p.failTxn(err) // its other partitions count on the id
			break
		}
		p.renumber(q, code)
	default:
		p.requestTopic(q.topic) // its leader may have moved
		if mayBeStored(err) {
			q.batch.maybeStored = true
		}
		if q.attempts >= warnAfter {
			p.warn("messages are not accepted for now", q.topic, err, now)
		}
	}
	if q.attempts++; p.retries >= 0 && q.attempts > p.retries {
		return q.giveUp(DeliveryFailed, err), true
	}
	q.lastErr = err
	q.retryAt = now.Add(p.backoff(q.attempts))
	return result{}, false
}

// splits reports whether to split a refused batch. In a transaction it is not split if it
// may be stored: a new sequence needs a new epoch, which only Abort gets.
func (p *Producer) splits(q *partitionQueue, code sarama.KError) bool {
	return perRecord(code) && len(q.batch.entries) > 1 && (p.txn == nil || !q.batch.maybeStored)
}

// renumber starts a new sequence with q's batch after the broker did not know the old one.
// The batch was not appended, so nothing is duplicated, and no other batch is in flight
// that could overtake it.
func (p *Producer) renumber(q *partitionQueue, code sarama.KError) {
	if code == sarama.ErrOutOfOrderSequenceNumber || code == sarama.ErrUnknownProducerID {
		q.bumpEpoch()
	} else {
		q.producer.valid = false // and a new sequence with the next id
	}
	if !q.producer.valid && p.id.id == q.producer.id {
		p.id.valid = false // a new one for all that need one from here on
	}
	p.log.WithFields(map[string]any{"topic": q.topic, "partition": q.id, "error": code}).
		Warn("the broker lost track of this producer: going on under a new sequence")
}

// recordResult counts the failures of a connection. p.mu is held.
func (p *Producer) recordResult(l *brokerLink, err error, now time.Time) {
	if err == nil {
		if l.failures > 1 {
			p.log.WithFields(map[string]any{"broker": l.id, "address": l.addr}).Info("broker takes messages again")
		}
		l.failures, l.retryAt, l.err = 0, time.Time{}, nil
		return
	}
	l.close()
	if p.ctx.Err() != nil {
		return // our own doing
	}
	// The first failure is normal: brokers close connections that were idle for minutes.
	if l.failures++; l.failures == 2 {
		p.log.WithFields(map[string]any{"broker": l.id, "address": l.addr, "error": err}).
			Warn("connection to broker failed: its messages wait")
	}
	l.retryAt, l.err = now.Add(p.backoff(l.failures)), err
}

// warn logs a state of a topic at most once a minute. p.mu is held.
func (p *Producer) warn(text, topic string, err error, now time.Time) {
	key := text + "\x00" + topic
	if last, ok := p.warned[key]; ok && now.Sub(last) < time.Minute {
		return
	}
	p.warned[key] = now
	p.log.WithFields(map[string]any{"topic": topic, "error": err}).Warn(text)
}

// expire fails messages that timed out. It runs only on the dispatch loop, so no batch of
// their partitions starts before their Done has returned.
func (p *Producer) expire(now time.Time) {
	p.mu.Lock()
	var ended []result
	late := func(entries []entry, topic string, partition int32, maybe bool, err error) {
		if len(entries) > 0 {
			ended = append(ended, result{entries: entries, part: partition, offset: -1, err: &DeliveryError{
				Kind: DeliveryTimedOut, Topic: topic, Partition: partition, MaybeDelivered: maybe, Err: err}})
		}
	}
	for _, q := range p.active {
		why := p.reasonOf(q)
		entries, maybe := q.expire(p.since(now))
		late(entries[:maybe], q.topic, q.id, true, why)
		late(entries[maybe:], q.topic, q.id, false, why)
	}
	for _, t := range p.topics {
		late(t.expire(p.since(now)), t.name, -1, false, p.reasonOfTopic(t))
	}
	p.mu.Unlock()
	p.report(ended)
}

// reasonOf is the known reason why q's messages are not stored, or nil.
func (p *Producer) reasonOf(q *partitionQueue) error {
	switch {
	case q.leader != nil && q.leader.err != nil:
		return q.leader.err
	case q.lastErr != nil:
		return q.lastErr
	case p.lastErr != nil:
		return p.lastErr
	case !q.producer.valid && p.idErr != nil:
		return fmt.Errorf("producer id: %w", p.idErr)
	case q.leader == nil:
		return sarama.ErrLeaderNotAvailable
	}
	return nil
}

// reasonOfTopic is the known reason why messages of t have no partition yet.
func (p *Producer) reasonOfTopic(t *topicQueue) error {
	if t.err != nil {
		return t.err
	}
	return p.lastErr
}

// takeAll removes all messages that are not in flight. p.mu is held.
func (p *Producer) takeAll(kind DeliveryErrorKind) []result {
	var left []result
	add := func(entries []entry, topic string, partition int32, maybe bool, err error) {
		if len(entries) > 0 {
			left = append(left, result{entries: entries, part: partition, offset: -1, err: &DeliveryError{
				Kind: kind, Topic: topic, Partition: partition, MaybeDelivered: maybe, Err: err}})
		}
	}
	for _, q := range p.active {
		if !q.inFlight {
			why := p.reasonOf(q)
			entries, maybe := q.takeAll()
			add(entries[:maybe], q.topic, q.id, true, why)
			add(entries[maybe:], q.topic, q.id, false, why)
		}
	}
	for _, t := range p.topics {
		add(t.takeAll(), t.name, -1, false, p.reasonOfTopic(t))
	}
	return left
}
