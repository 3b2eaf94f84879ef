package producer

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// This file holds a producer's topics: their partitions in the cluster's metadata, and the
// messages whose partition is not known yet.

// unknownTopicAfter is how long the cluster may answer that a topic does not exist before
// its messages are refused: brokers learn of a new topic with a delay (librdkafka's
// topic.metadata.propagation.max.ms).
const unknownTopicAfter = 30 * time.Second

// unknownTopicLogged is the time after which that is logged: auto-creating a topic takes a
// moment.
const unknownTopicLogged = 2 * time.Second

// maxPartitions is more than any topic has: memory is reserved up to the highest number
// that a broker names.
const maxPartitions = 200_000

// topicQueue is a Producer's state of a topic, guarded by Producer.mu.
type topicQueue struct {
	name  string
	parts []*partitionQueue // by id; nil: not known yet
	// count is the number of partitions in the latest metadata. A recreated topic may have
	// fewer than parts, which only grows: a partition that comes back continues its
	// sequence.
	count int
	// choices are the partitions for messages that may go to any: those with a leader, or
	// all if none has one.
	choices []int32
	// waiting holds, in the order of Send, the messages whose partition is not known yet.
	waiting      []unassigned
	skipLinger   bool      // they do not wait for linger.ms either
	wanted       bool      // metadata has to be requested
	missed       bool      // it was wanted again during the request: the answer may be older than the reason
	unknownSince time.Time // since when the cluster says there is no such topic; zero: it does not
	err          error     // the last answer, when it was an error
	sticky       stickyPartition
}

// unassigned is a message whose partition is not known yet.
type unassigned struct {
	record
	partition int32 // -1: the partitioner chooses
	key       []byte
}

// expire removes and returns the timed-out messages of waiting.
func (t *topicQueue) expire(now time.Duration) (expired []entry) {
	n := 0
	for n < len(t.waiting) && t.waiting[n].deadline <= now {
		expired = append(expired, t.waiting[n].entry)
		n++
	}
	t.waiting = slices.Delete(t.waiting, 0, n)
	return expired
}

// takeAll removes and returns all messages of waiting.
func (t *topicQueue) takeAll() (entries []entry) {
	for _, m := range t.waiting {
		entries = append(entries, m.entry)
	}
	t.waiting = nil
	return entries
}

// enqueue appends a message to the queue of its partition, or of its topic while the
// partitions are not known; size is the maximum size of its record. p.mu is held.
func (p *Producer) enqueue(m *Message, e entry, size int, now time.Time) {
	t := p.topics[m.Topic]
	if t == nil {
		t = &topicQueue{name: m.Topic}
		p.topics[m.Topic] = t
	}
	at := m.Timestamp
	if at.IsZero() {
		at = now
	}
	key, partition := m.Key, int32(-1)
	if m.PartitionKey != nil {
		key = m.PartitionKey
	}
	if m.Partition != nil {
		partition = *m.Partition
	}
	if t.parts == nil || len(t.waiting) > 0 || int(partition) >= t.count {
		t.waiting = append(t.waiting, unassigned{partition: partition, key: bytes.Clone(key),
			record: record{entry: e, timestamp: at.UnixMilli(), body: appendBody(make([]byte, 0, bodySize(m)), m)}})
		if !t.wanted || len(t.waiting) == 1 {
			p.requestTopic(t.name)
			signal(p.wake) // for its deadline
		}
		return
	}
	q := p.choosePartition(t, partition, key, &e, now)
	q.push(e, at.UnixMilli(), m, size)
	p.activate(q)
}

// choosePartition returns the partition for a message, and sets e.anywhere if any other
// would do. The partitions are known, and an explicit one exists. p.mu is held.
func (p *Producer) choosePartition(t *topicQueue, id int32, key []byte, e *entry, now time.Time) *partitionQueue {
	if id < 0 {
		id = p.choose.Partition(key, int32(t.count))
	}
	if id == AnyPartition {
		e.anywhere = true
		id = t.sticky.choose(t.choices, now, p.sticky)
	}
	return t.parts[id]
}

// activate adds a partition with messages to the active ones. p.mu is held.
func (p *Producer) activate(q *partitionQueue) {
	if !q.active {
		q.active = true
		p.active = append(p.active, q)
	}
	if !q.inFlight && (q.leader == nil || !q.leader.busy) {
		signal(p.wake)
	}
}

// requestTopic has the control loop ask for a topic. p.mu is held.
func (p *Producer) requestTopic(name string) {
	t := p.topics[name]
	switch {
	case t == nil:
	case t.wanted:
		t.missed = true
	default:
		t.wanted = true
		signal(p.ask)
	}
}

// applyMetadata updates brokers and topics from metadata, and returns the messages that fail because
// of it. again: the answer was useless for one of the requested topics, so the caller
// requests it again after a pause. Topics that were wanted again during the request are
// requested at once.
func (p *Producer) applyMetadata(meta *sarama.MetadataResponse, asked []string, now time.Time) (ended []result, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range meta.Brokers {
		l := p.links[b.ID()]
		if l != nil && l.addr == b.Addr() {
			continue
		}
		if l != nil { // it moved; the partitions follow when their topics are asked for
			p.drop(l)
			p.detach(l)
			p.requestAllLocked()
			signal(p.ask) // not all of them are answered here
		}
		p.links[b.ID()] = newBrokerLink(b.ID(), b.Addr())
	}
	for _, m := range meta.Topics {
		if t := p.topics[m.Name]; t != nil {
			ended = append(ended, p.applyTopic(t, m, now)...)
		}
	}
	if slices.ContainsFunc(asked, func(name string) bool { return p.topics[name].missed }) {
		signal(p.ask)
		return ended, false
	}
	return ended, slices.ContainsFunc(asked, func(name string) bool { return p.topics[name].wanted })
}

// detach removes a dropped connection from its partitions, so that none of them opens it
// again. p.mu is held.
func (p *Producer) detach(l *brokerLink) {
	for _, t := range p.topics {
		for _, q := range t.parts {
			if q.leader == l {
				q.leader = nil
			}
		}
	}
}

func (p *Producer) applyTopic(t *topicQueue, m *sarama.TopicMetadata, now time.Time) []result {
	if m.Err != sarama.ErrNoError && m.Err != sarama.ErrLeaderNotAvailable {
		return p.noTopic(t, m.Err, now)
	}
	t.unknownSince, t.err = time.Time{}, nil
	m.Partitions = slices.DeleteFunc(m.Partitions, func(pm *sarama.PartitionMetadata) bool { return pm.ID < 0 || pm.ID >= maxPartitions })
	if len(m.Partitions) > 0 {
		t.count = 0
	}
	for _, pm := range m.Partitions {
		t.count = max(t.count, int(pm.ID)+1)
		for int(pm.ID) >= len(t.parts) {
			t.parts = append(t.parts, &partitionQueue{topic: t.name, id: int32(len(t.parts)), limits: &p.limits})
		}
	}
	for _, pm := range m.Partitions {
		q := t.parts[pm.ID]
		before := q.leader
		q.leader = nil
		if pm.Leader >= 0 {
			q.leader = p.links[pm.Leader]
		}
		if q.leader != before {
			q.retryAt = time.Time{} // the old leader's failures do not delay the new one (KIP-951)
		}
	}
	p.chooseAgain(t, now)
	leaderless := len(m.Partitions) == 0
	for _, q := range t.parts[:t.count] {
		leaderless = leaderless || q.leader == nil && !q.empty()
	}
	t.wanted = leaderless || t.missed
	if leaderless {
		t.err = sarama.ErrLeaderNotAvailable
	}
	if t.parts == nil {
		return nil
	}
	var ended []result
	waiting := t.waiting
	t.waiting = nil
	for _, m := range waiting {
		if int(m.partition) >= t.count {
			ended = append(ended, result{entries: []entry{m.entry}, part: -1, offset: -1, err: &DeliveryError{
				Kind: DeliveryRefused, Topic: t.name, Partition: m.partition,
				Err: fmt.Errorf("the topic has %d partitions, counted from 0", t.count)}})
			continue
		}
		q := p.choosePartition(t, m.partition, m.key, &m.entry, now)
		q.pushRecord(m.record)
		p.activate(q)
	}
	if t.skipLinger {
		t.skipLinger = false
		for _, q := range t.parts {
			q.skipLinger = len(q.queue) > 0
		}
	}
	return ended
}

// chooseAgain updates the partitions that have a leader. It moves messages that may go to any
// partition from those without one, unless they may be stored already. p.mu is held.
func (p *Producer) chooseAgain(t *topicQueue, now time.Time) {
	t.choices = t.choices[:0]
	for _, q := range t.parts[:t.count] {
		if q.leader != nil {
			t.choices = append(t.choices, q.id)
		}
	}
	led := len(t.choices) > 0
	for id := range t.parts[:t.count] {
		if !led {
			t.choices = append(t.choices, int32(id))
		}
	}
	if !slices.Contains(t.choices, t.sticky.partition) {
		t.sticky.until = time.Time{}
	}
	for _, q := range t.parts {
		if !led || q.leader != nil && int(q.id) < t.count {
			continue
		}
		t.skipLinger = t.skipLinger || q.skipLinger
		moved := map[*partitionQueue][]record{}
		for _, r := range q.takeAnywhere() {
			to := t.parts[t.sticky.choose(t.choices, now, p.sticky)]
			moved[to] = append(moved[to], r)
		}
		for to, records := range moved {
			to.merge(records)
			p.activate(to)
		}
	}
}

// noTopic handles metadata without partitions of t. The messages wait for a topic that may still
// be created, and are refused if it is not.
func (p *Producer) noTopic(t *topicQueue, code sarama.KError, now time.Time) []result {
	t.err = code
	final := classify(code) == outcomeRefused
	if code == sarama.ErrUnknownTopicOrPartition {
		if t.unknownSince.IsZero() {
			t.unknownSince = now
		}
		final = now.Sub(t.unknownSince) >= unknownTopicAfter
	}
	t.wanted = !final || t.missed
	if !final {
		if code == sarama.ErrUnknownTopicOrPartition && now.Sub(t.unknownSince) < unknownTopicLogged {
			return nil
		}
		p.warn("topic is not available: its messages wait", t.name, code, now)
		return nil
	}
	var ended []result
	refuse := func(entries []entry, partition int32, maybe bool) {
		if len(entries) > 0 {
			ended = append(ended, result{entries: entries, part: partition, offset: -1, err: &DeliveryError{
				Kind: DeliveryRefused, Topic: t.name, Partition: partition, MaybeDelivered: maybe, Err: code}})
		}
	}
	for _, q := range t.parts {
		if !q.inFlight { // else the answer to the request decides, and then noTopic runs again
			entries, maybe := q.takeAll()
			refuse(entries[:maybe], q.id, true)
			refuse(entries[maybe:], q.id, false)
		}
	}
	refuse(t.takeAll(), -1, false)
	return ended
}
