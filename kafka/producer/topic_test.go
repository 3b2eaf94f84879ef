package producer

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// producerOf returns a producer that no loop runs for, so that a test sees each step.
func producerOf(t *testing.T) *Producer {
	t.Helper()
	p, err := New(t.Context(), settings("127.0.0.1:1"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.started = true
	t.Cleanup(func() { p.cancel(); p.wg.Wait() })
	return p
}

// metadata says that broker 1 is at addr, and leads n partitions of topic.
func metadata(addr, topic string, n int) *sarama.MetadataResponse {
	m := &sarama.MetadataResponse{}
	m.AddBroker(addr, 1)
	m.Topics = []*sarama.TopicMetadata{{Name: topic}}
	for i := range n {
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, &sarama.PartitionMetadata{ID: int32(i), Leader: 1})
	}
	return m
}

// send queues messages with these keys for topic and returns how they ended by now.
func send(t *testing.T, p *Producer, topic string, messages ...Message) *[]error {
	t.Helper()
	var ended []error
	for _, m := range messages {
		m.Topic = topic
		if err := p.Send(t.Context(), m, func(_ int32, _ int64, err error) { ended = append(ended, err) }); err != nil {
			t.Fatal(err)
		}
	}
	return &ended
}

// After a topic was recreated with fewer partitions, keys are hashed to the partitions that
// it has. Otherwise the messages of the other partitions would all time out.
func TestRecreatedTopicWithFewerPartitions(t *testing.T) {
	p := producerOf(t)
	asked := []string{"out"}
	send(t, p, "out", Message{})
	p.applyMetadata(metadata("127.0.0.1:1", "out", 8), asked, epoch0)
	p.applyMetadata(metadata("127.0.0.1:1", "out", 2), asked, epoch0)
	for i := range 100 {
		key := []byte{byte(i)}
		send(t, p, "out", Message{Key: key}, Message{PartitionKey: key}, Message{})
	}
	parts := p.topics["out"].parts
	for _, q := range parts[2:] {
		if q.count > 1 { // the first was sent when there were 8
			t.Errorf("%d messages are for partition %d of 2", q.count, q.id)
		}
	}
	four := int32(4)
	refused := send(t, p, "out", Message{Partition: &four})
	ended, _ := p.applyMetadata(metadata("127.0.0.1:1", "out", 2), asked, epoch0)
	if p.report(ended); len(*refused) != 1 || (*refused)[0] == nil {
		t.Errorf("the message for partition 4 of 2 ended: %v", *refused)
	}
	// Those that come back are the same: a new one would begin a sequence that the broker
	// has seen, and have its messages taken for repetitions.
	p.applyMetadata(metadata("127.0.0.1:1", "out", 8), asked, epoch0)
	for i, q := range p.topics["out"].parts {
		if q != parts[i] {
			t.Errorf("partition %d lost its sequence", i)
		}
	}
}

// When a broker has moved, all topics are asked for, those too that nobody asked for
// just now: their partitions have lost their leader's connection.
func TestBrokerMoves(t *testing.T) {
	p := producerOf(t)
	for _, topic := range []string{"a", "b"} {
		send(t, p, topic, Message{})
		p.applyMetadata(metadata("127.0.0.1:1", topic, 1), []string{topic}, epoch0)
	}
	select {
	case <-p.ask:
	default:
		t.Fatal("the topics were not asked for at first")
	}
	old := p.links[1]
	p.applyMetadata(metadata("127.0.0.1:2", "a", 1), []string{"a"}, epoch0)
	select {
	case <-p.ask:
	default:
		t.Error("the other topic is not asked for")
	}
	if !p.topics["b"].wanted {
		t.Error("the other topic is not wanted")
	}
	if q := p.topics["a"].parts[0]; q.leader == old || q.leader != p.links[1] {
		t.Error("the topic that was asked for has not moved")
	}
	if q := p.topics["b"].parts[0]; q.leader == old {
		t.Error("the other topic keeps the connection that nobody closes any more")
	}
}

// A connection to a broker that moved while it was being made is closed.
func TestBrokerMovesWhileConnecting(t *testing.T) {
	p := producerOf(t)
	old := newBrokerLink(1, fakeCluster(t).ListenAddrs()[0])
	p.links[1] = newBrokerLink(1, "127.0.0.1:1")
	p.mu.Lock()
	p.connect(old)
	p.mu.Unlock()
	p.wg.Wait()
	if old.conn != nil {
		t.Error("the connection is kept")
	}
	p.links[1] = newBrokerLink(1, old.addr)
	p.mu.Lock()
	p.connect(p.links[1])
	p.mu.Unlock()
	p.wg.Wait()
	if p.links[1].conn == nil {
		t.Errorf("the one in use is not connected: %v", p.links[1].err)
	}
	p.links[1].close()
}

// Messages that may go anywhere go to partitions with a leader, those too that were
// queued for one that has lost its own; what cannot move stays and waits.
func TestMessagesWithoutAKeyGoToPartitionsWithALeader(t *testing.T) {
	p := producerOf(t)
	p.sticky = 0 // a choice for each
	asked := []string{"out"}
	send(t, p, "out", Message{})
	meta := metadata("127.0.0.1:1", "out", 3)
	p.applyMetadata(meta, asked, epoch0)
	two := int32(2)
	for range 300 {
		send(t, p, "out", Message{}, Message{Partition: &two})
	}
	meta.Topics[0].Partitions[2].Leader = -1
	q := p.topics["out"].parts[2]
	q.take() // was not sent
	p.applyMetadata(meta, asked, epoch0)
	for range 300 {
		send(t, p, "out", Message{})
	}
	counts, bytes := [3]int{}, 0
	for i, q := range p.topics["out"].parts {
		counts[i] = q.count
		bytes += q.bytes
		var all []entry
		for _, b := range q.queue {
			all = append(all, b.entries...)
		}
		if !slices.IsSortedFunc(all, func(a, b entry) int { return cmp.Compare(a.deadline, b.deadline) }) {
			t.Errorf("partition %d: the messages are not in the order of Send", i)
		}
		if wrong := counted(q); wrong != "" {
			t.Errorf("partition %d: %s", i, wrong)
		}
	}
	if counts[2] != 300 || counts[0]+counts[1] != 601 || counts[0] < 100 || counts[1] < 100 {
		t.Errorf("%v messages for the partitions, of which the last has no leader", counts)
	}
	if want := 901 * recordSize(&Message{}); bytes == 0 || bytes > want {
		t.Errorf("%d bytes are counted, want %d at most", bytes, want)
	}

	// Messages that may be stored must not be sent to another partition.
	q.take().maybeStored = true
	stays := len(q.batch.entries)
	for i := range q.batch.entries {
		q.batch.entries[i].anywhere = true
	}
	p.applyMetadata(meta, asked, epoch0)
	if q.batch == nil || len(q.batch.entries) != stays {
		t.Error("a batch that may be stored went to another partition")
	}
	for i := range meta.Topics[0].Partitions { // nobody leads: they stay, and wait
		meta.Topics[0].Partitions[i].Leader = -1
	}
	p.applyMetadata(meta, asked, epoch0)
	send(t, p, "out", Message{})
	if n := p.topics["out"].parts[0].count + p.topics["out"].parts[1].count; n < 601 {
		t.Errorf("%d messages wait, want 601 at least", n)
	}
}

// A partition's number that no topic has costs nothing but that partition.
func TestNonsensePartitions(t *testing.T) {
	p := producerOf(t)
	send(t, p, "out", Message{})
	m := metadata("127.0.0.1:1", "out", 3)
	m.Topics[0].Partitions[0].ID = -1
	m.Topics[0].Partitions[2].ID = 10 * maxPartitions
	p.applyMetadata(m, []string{"out"}, epoch0)
	if topic := p.topics["out"]; topic.count != 2 || len(topic.parts) != 2 || topic.parts[1].leader == nil {
		t.Errorf("%d partitions, %d kept", topic.count, len(topic.parts))
	}
}

// Messages that are refused because of their topic or producer id may be stored all the same, if
// an earlier request with them got no answer.
func TestRefusedMessagesMayBeStored(t *testing.T) {
	for name, refuse := range map[string]func(*Producer) []result{
		"topic": func(p *Producer) []result {
			m := metadata("127.0.0.1:1", "out", 0)
			m.Topics[0].Err = sarama.ErrTopicAuthorizationFailed
			ended, _ := p.applyMetadata(m, []string{"out"}, epoch0)
			return ended
		},
		"producer id": func(p *Producer) []result { return p.refuseUnidentified(sarama.ErrClusterAuthorizationFailed) },
	} {
		p := producerOf(t)
		send(t, p, "out", Message{}) // asks for the topic
		p.applyMetadata(metadata("127.0.0.1:1", "out", 1), []string{"out"}, epoch0)
		p.topics["out"].parts[0].take().maybeStored = true
		send(t, p, "out", Message{}, Message{})
		ended := refuse(p)
		maybe := map[bool]int{}
		for _, e := range ended {
			d, ok := errors.AsType[*DeliveryError](e.err)
			if !ok || !d.Refused() {
				t.Fatalf("%s: ended with %v", name, e.err)
			}
			maybe[d.MaybeDelivered] += len(e.entries)
		}
		if maybe[true] != 1 || maybe[false] != 2 {
			t.Errorf("%s: %d messages may be stored, %d are not; want 1 and 2", name, maybe[true], maybe[false])
		}
		p.report(ended)
	}
}

// A message for a busy broker does not wake the loop, so the loop looks again in time: for
// the message's deadline, and for another leader of its partition.
func TestDispatchChecksAgain(t *testing.T) {
	p := producerOf(t)
	p.applyMetadata(metadata("127.0.0.1:1", "other", 1), nil, epoch0)
	now := time.Now()
	if next := p.dispatch(now); next.After(now.Add(p.timeout)) {
		t.Errorf("looks again after %v: a message sent now is late", next.Sub(now))
	}
	p.links[1].begin(now)
	if next := p.dispatch(now); next.After(now.Add(busyLong)) {
		t.Errorf("looks again after %v, though the broker may be frozen", next.Sub(now))
	}
}
