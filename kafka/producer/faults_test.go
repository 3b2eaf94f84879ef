package producer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// flakyListener cuts connections when the broker answers: the request was
// carried out, and nobody learns of it.
type flakyListener struct {
	net.Listener
	perMille *atomic.Int64
	cuts     *atomic.Int64
}

func (l *flakyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &flakyConn{Conn: c, l: l}, nil
}

type flakyConn struct {
	net.Conn
	l *flakyListener
}

func (c *flakyConn) Write(b []byte) (int, error) {
	if rand.Int64N(1000) < c.l.perMille.Load() {
		c.l.cuts.Add(1)
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func fakeCluster(t testing.TB, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// contents returns the values in a topic by partition. Each partition is read up
// to a marker that is written first: an aborted record at the end is never handed
// out, so that counting offsets would wait for ever.
func contents(t testing.TB, addrs []string, topic string, isolation sarama.IsolationLevel) map[int32][]string {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.IsolationLevel = isolation
	conf.Consumer.MaxWaitTime = 50 * time.Millisecond
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes = true
	client, err := sarama.NewClient(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing is lost
	marks, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close() //nolint:errcheck // it is synchronous
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close() //nolint:errcheck // it was only read
	partitions, err := client.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	marker := fmt.Sprintf("marker %x", rand.Uint64())
	all := map[int32][]string{}
	for _, p := range partitions {
		m := &sarama.ProducerMessage{Topic: topic, Partition: p, Key: sarama.StringEncoder("marker"), Value: sarama.StringEncoder(marker)}
		if _, _, err := marks.SendMessage(m); err != nil {
			t.Fatal(err)
		}
		all[p] = readUpTo(t, consumer, topic, p, marker)
	}
	return all
}

// readUpTo returns the values of a partition, without markers, up to one.
func readUpTo(t testing.TB, consumer sarama.Consumer, topic string, p int32, marker string) []string {
	t.Helper()
	pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close() //nolint:errcheck // it was only read
	var got []string
	timeout := time.After(30 * time.Second)
	for {
		select {
		case m := <-pc.Messages():
			switch {
			case string(m.Value) == marker:
				return got
			case string(m.Key) != "marker":
				got = append(got, string(m.Value))
			}
		case <-timeout:
			t.Fatalf("%s/%d: its end does not come; %d messages so far", topic, p, len(got))
		}
	}
}

// sendNumbered sends 0..n-1 to the partitions in turn, with Done into d.
func sendNumbered(t testing.TB, p *producer.Producer, topic string, partitions, n int, d *deliveries) {
	t.Helper()
	ctx := testContext(t)
	for i := range n {
		id := fmt.Sprint(i)
		err := p.Send(ctx, producer.Message{Topic: topic, Partition: partition(int32(i % partitions)), Value: []byte(id)}, d.done(id))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkNumbered checks that each number is in the topic once, in order, where
// and for whom Done said so.
func checkNumbered(t testing.TB, addrs []string, topic string, partitions, n int, d *deliveries) {
	t.Helper()
	got := contents(t, addrs, topic, sarama.ReadUncommitted)
	for p := range int32(partitions) {
		var want []string
		for i := int(p); i < n; i += partitions {
			id := fmt.Sprint(i)
			e, ok := d.get(id)
			if !ok {
				t.Fatalf("message %d was not reported", i)
			}
			if e.err != nil {
				t.Fatalf("message %d: %v", i, e.err)
			}
			want = append(want, id)
		}
		if !slices.Equal(got[p], want) {
			t.Errorf("partition %d holds %d messages, want %d in order: %s", p, len(got[p]), len(want), difference(got[p], want))
		}
		if order := d.order[p]; !slices.Equal(order, want) {
			t.Errorf("partition %d: Done was called in another order: %s", p, difference(order, want))
		}
	}
	if len(d.twice) > 0 {
		t.Errorf("Done called twice for %v", d.twice)
	}
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("from index %d: got %v…, want %v…", i, got[i:min(len(got), i+5)], want[i:min(len(want), i+5)])
		}
	}
	return "none"
}

func TestProducerOverLossyConnections(t *testing.T) {
	t.Parallel()
	var perMille, cuts atomic.Int64
	c := fakeCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "out"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		return &flakyListener{Listener: l, perMille: &perMille, cuts: &cuts}, nil
	}))
	conf := settings(c.ListenAddrs()...)
	p := newProducer(t, conf, producer.Options{})
	perMille.Store(150)
	const n = 3000
	var d deliveries
	for i := range n {
		sendNumberedOne(t, p, i, 6, &d)
		if i%100 == 99 { // so that there are many requests
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	perMille.Store(0)
	checkNumbered(t, c.ListenAddrs(), "out", 6, n, &d)
	if cuts.Load() < 5 {
		t.Errorf("only %d connections were cut: the test shows nothing", cuts.Load())
	}
	t.Logf("%d connections cut while answering", cuts.Load())
}

func sendNumberedOne(t testing.TB, p *producer.Producer, i, partitions int, d *deliveries) {
	t.Helper()
	id := fmt.Sprint(i)
	if err := p.Send(testContext(t), producer.Message{Topic: "out", Partition: partition(int32(i % partitions)), Value: []byte(id)}, d.done(id)); err != nil {
		t.Fatal(err)
	}
}

func TestProducerRetries(t *testing.T) {
	for _, err := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut,
		kerr.UnknownTopicOrPartition, kerr.KafkaStorageError, kerr.CorruptMessage,
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping,
	} {
		t.Run(err.Message, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(2, "out"))
			p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
			var d deliveries
			sendNumbered(t, p, "out", 2, 10, &d)
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Partitions: []int32{1}, Err: err, Count: 3})
			for i := 10; i < 60; i++ {
				sendNumberedOne(t, p, i, 2, &d)
			}
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if fault.Hits() != 3 {
				t.Errorf("%d requests failed, want 3", fault.Hits())
			}
			checkNumbered(t, c.ListenAddrs(), "out", 2, 60, &d)
		})
	}
}

func TestProducerReportsRefusals(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.MessageTooLarge, kerr.PolicyViolation, kerr.InvalidTimestamp} {
		t.Run(err.Message, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(1, "out"))
			// Refuses every batch with a bad record in it, as brokers do.
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1, When: func(r kmsg.Request) bool {
				return bytes.Contains(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records, []byte("bad"))
			}})
			p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
			var d deliveries
			for i := range 21 {
				id := fmt.Sprint(i)
				value := id
				if i%10 == 7 {
					value = "bad " + id
				}
				if err := p.Send(testContext(t), producer.Message{Topic: "out", Value: []byte(value)}, d.done(id)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			fault.Remove()
			perRecord := err != kerr.TopicAuthorizationFailed && err != kerr.PolicyViolation
			var want []string
			for i := range 21 {
				e, _ := d.get(fmt.Sprint(i))
				de, failed := errors.AsType[*producer.DeliveryError](e.err)
				if bad := i%10 == 7; perRecord && failed != bad || bad && !failed {
					t.Errorf("message %d: %v", i, e.err)
				}
				if failed && (!de.Refused() || de.Kind != producer.DeliveryRefused) {
					t.Errorf("message %d: %v does not count as refused", i, de)
				}
				if !failed {
					want = append(want, fmt.Sprint(i))
				}
			}
			if got := contents(t, c.ListenAddrs(), "out", sarama.ReadUncommitted)[0]; !slices.Equal(got, want) {
				t.Errorf("in the topic: %v, want %v", got, want)
			}
		})
	}
}

// A batch that may be stored and is refused when it is sent again has used its
// sequence number up: the next batch under that number would be taken for a
// repetition and dropped.
func TestProducerRefusedAfterItWasStored(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
	var d deliveries
	for i := range 2 {
		sendNumberedOne(t, p, i, 1, &d)
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := d.get("0")
	if de, ok := errors.AsType[*producer.DeliveryError](first.err); !ok || !de.Refused() || !de.MaybeDelivered {
		t.Errorf("the first message: %v", first.err)
	}
	if second, _ := d.get("1"); second.err != nil {
		t.Errorf("the second message: %v", second.err)
	}
	if got := contents(t, c.ListenAddrs(), "out", sarama.ReadUncommitted)[0]; !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("in the topic: %v", got)
	}
}

func TestProducerFollowsTheLeader(t *testing.T) {
	c := fakeCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(3, "out"))
	p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
	var d deliveries
	for i := range 300 {
		if i%30 == 0 {
			for part := range int32(3) {
				if err := c.MoveTopicPartition("out", part, int32(i/30+int(part))%3); err != nil {
					t.Fatal(err)
				}
			}
		}
		sendNumberedOne(t, p, i, 3, &d)
		if i%30 == 29 {
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkNumbered(t, c.ListenAddrs(), "out", 3, 300, &d)
}

// When the leader has changed, messages that failed at the old leader are sent to the new one at
// once, without the rest of the backoff: a rolling restart of brokers leaves little time in
// between.
func TestProducerDoesNotBackOffForANewLeader(t *testing.T) {
	c := fakeCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "out"))
	conf := settings(c.ListenAddrs()...)
	conf.Producer = []string{"retry.backoff.ms=300000", "retry.backoff.max.ms=300000"}
	conf.MessageTimeout = 5 * time.Minute
	p := newProducer(t, conf, producer.Options{})
	var d deliveries
	for i := range 6 {
		if err := c.MoveTopicPartition("out", 0, int32(i%2)); err != nil {
			t.Fatal(err)
		}
		sendNumberedOne(t, p, i, 1, &d)
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	checkNumbered(t, c.ListenAddrs(), "out", 1, 6, &d)
}

// muteListener takes connections and says nothing while it is mute, as the kernel
// does for a process that is stopped.
type muteListener struct {
	net.Listener
	mute  atomic.Bool
	taken chan net.Conn
}

func (l *muteListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || !l.mute.Load() {
			return conn, err
		}
		l.taken <- conn
	}
}

// muteCluster is a cluster of two with a topic of one partition, at broker 0. The
// second address is that of broker 0, the first that of broker 1, which is mute.
func muteCluster(t *testing.T) (c *kfake.Cluster, addrs [2]string, mute *muteListener) {
	t.Helper()
	var listeners []*muteListener
	c = fakeCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "out"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		m := &muteListener{Listener: l, taken: make(chan net.Conn, 100)}
		listeners = append(listeners, m)
		return m, nil
	}))
	t.Cleanup(func() {
		for _, l := range listeners {
			for len(l.taken) > 0 {
				_ = (<-l.taken).Close() // it was never used
			}
		}
	})
	if err := c.MoveTopicPartition("out", 0, 0); err != nil {
		t.Fatal(err)
	}
	client, err := sarama.NewClient(c.ListenAddrs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // it only asked
	leader, err := client.Leader("out", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		if addr := l.Addr().String(); addr == leader.Addr() {
			addrs[1] = addr
		} else {
			addrs[0], mute = addr, l
		}
	}
	mute.mute.Store(true)
	return c, addrs, mute
}

// A broker that is frozen holds up no partition that another leads by now, however
// long socket_timeout is.
func TestProducerLeavesAFrozenLeader(t *testing.T) {
	t.Parallel()
	c, addrs, mute := muteCluster(t)
	if err := c.MoveTopicPartition("out", 0, 1); err != nil {
		t.Fatal(err)
	}
	conf := settings(addrs[1])
	conf.SocketTimeout, conf.MessageTimeout = 5*time.Minute, 10*time.Minute
	p := newProducer(t, conf, producer.Options{})
	var d deliveries
	sendNumberedOne(t, p, 0, 1, &d)
	select {
	case conn := <-mute.taken:
		defer conn.Close() //nolint:errcheck // it was never used
	case <-time.After(30 * time.Second):
		t.Fatal("nobody connects to the leader")
	}
	if err := c.MoveTopicPartition("out", 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	mute.mute.Store(false)
	checkNumbered(t, addrs[1:], "out", 1, 1, &d)
}

// The producer soon requests metadata from another broker than a frozen one.
func TestProducerAsksAnotherBrokerThanAFrozenOne(t *testing.T) {
	t.Parallel()
	_, addrs, mute := muteCluster(t)
	conf := settings(addrs[0], strings.Replace(addrs[1], "127.0.0.1", "localhost", 1)) // asked in order
	conf.SocketTimeout, conf.MessageTimeout = 5*time.Minute, 10*time.Minute
	p := newProducer(t, conf, producer.Options{})
	var d deliveries
	sendNumberedOne(t, p, 0, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if len(mute.taken) == 0 {
		t.Error("the frozen broker was not asked: nothing was tested")
	}
	mute.mute.Store(false)
	checkNumbered(t, addrs[1:], "out", 1, 1, &d)
}

func TestProducerWaitsForItsID(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: 2})
	p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
	var d deliveries
	sendNumbered(t, p, "out", 1, 5, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, c.ListenAddrs(), "out", 1, 5, &d)
}

func TestProducerNotAuthorizedForAnID(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
	var d deliveries
	sendNumbered(t, p, "out", 1, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	e, _ := d.get("0")
	if de, ok := errors.AsType[*producer.DeliveryError](e.err); !ok || !de.Refused() || !strings.Contains(de.Error(), "IdempotentWrite") {
		t.Errorf("got %v", e.err)
	}
	fault.Remove()
	for tries := 1; ; tries++ { // a refusal may be under way still
		var d deliveries
		sendNumbered(t, p, "out", 1, 1, &d)
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
		e, _ := d.get("0")
		if e.err == nil {
			return
		}
		if tries == 20 {
			t.Fatalf("allowed again, got %v", e.err)
		}
	}
}

func TestProducerWaitsForATopic(t *testing.T) {
	c := fakeCluster(t)
	conf := settings(c.ListenAddrs()...)
	p := newProducer(t, conf, producer.Options{})
	asked := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Observe: true, Count: -1})
	var d deliveries
	sendNumbered(t, p, "out", 1, 3, &d)
	if err := asked.Wait(testContext(t), 3); err != nil {
		t.Fatal(err)
	}
	if d.count() != 0 {
		t.Fatalf("given up after 3 questions: %v", d.results)
	}
	if err := c.CreateTopic("out", 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, c.ListenAddrs(), "out", 1, 3, &d)
}

func TestProducerSeesNewPartitions(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	p := newProducer(t, settings(c.ListenAddrs()...), producer.Options{})
	var d deliveries
	sendNumbered(t, p, "out", 1, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	admin, err := sarama.NewClusterAdmin(c.ListenAddrs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close() //nolint:errcheck // nothing is lost
	if err := admin.CreatePartitions("out", 3, nil, false); err != nil {
		t.Fatal(err)
	}
	d = deliveries{}
	sendNumbered(t, p, "out", 3, 3, &d) // asks for the topic again rather than refuse
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for id, e := range d.results {
		if e.err != nil {
			t.Errorf("message %s: %v", id, e.err)
		}
	}
}

func TestProducerTimeout(t *testing.T) {
	for _, tc := range []struct {
		err   *kerr.Error
		maybe bool
	}{{kerr.NotEnoughReplicas, false}, {kerr.NotEnoughReplicasAfterAppend, true}} {
		t.Run(tc.err.Message, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(1, "out"))
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: tc.err, Count: -1})
			conf := settings(c.ListenAddrs()...)
			conf.MessageTimeout = 500 * time.Millisecond
			p := newProducer(t, conf, producer.Options{})
			var d deliveries
			start := time.Now()
			sendNumbered(t, p, "out", 1, 1, &d)
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < conf.MessageTimeout || took > seeds.AtMost(3*conf.MessageTimeout) {
				t.Errorf("given up after %v", took)
			}
			for id, e := range d.results {
				de, ok := errors.AsType[*producer.DeliveryError](e.err)
				if !ok || de.Kind != producer.DeliveryTimedOut || de.MaybeDelivered != tc.maybe || !errors.Is(e.err, sarama.KError(tc.err.Code)) {
					t.Errorf("message %s: %+v", id, e.err)
				}
			}
			// Later messages are delivered, with a sequence number that the broker accepts.
			fault.Remove()
			d = deliveries{}
			sendNumbered(t, p, "out", 1, 3, &d)
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			for id, e := range d.results {
				if e.err != nil {
					t.Errorf("message %s after the others had failed: %v", id, e.err)
				}
			}
		})
	}
}

func TestProducerCompression(t *testing.T) {
	for _, tc := range []struct {
		codec, property string
		attribute       int16
	}{
		{"none", "compression.level=-1", 0}, {"gzip", "compression.level=9", 1}, {"gzip", "compression.level=12", 1},
		{"snappy", "compression.level=0", 2}, {"lz4", "compression.level=-1", 3}, {"zstd", "compression.level=19", 4},
	} {
		t.Run(tc.codec+" "+tc.property, func(t *testing.T) {
			b := testbroker.New(t)
			topic := b.Topic(1)
			conf := settings(b.Addrs()...)
			conf.ProducerCompressionCodec, conf.Producer = tc.codec, []string{tc.property}
			p := newProducer(t, conf, producer.Options{})
			var d deliveries
			sendNumbered(t, p, topic, 1, 500, &d)
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			checkNumbered(t, b.Addrs(), topic, 1, 500, &d)
			// A batch that compression would not make smaller is sent as it is: one that it does.
			topic = b.Topic(1)
			if err := p.Send(t.Context(), producer.Message{Topic: topic, Value: make([]byte, 4096)}, func(int32, int64, error) {}); err != nil {
				t.Fatal(err)
			}
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if got := firstBatch(t, b.Addrs()[0], topic); got.Attributes&7 != tc.attribute {
				t.Errorf("the batch has codec %d, want %d", got.Attributes&7, tc.attribute)
			}
		})
	}
	for _, codec := range []string{"snappy", "lz4"} {
		conf := settings("127.0.0.1:1")
		conf.ProducerCompressionCodec, conf.Producer = codec, []string{"compression.level=3"}
		if _, err := producer.New(t.Context(), conf, producer.Options{Logger: silent()}); err == nil || !strings.Contains(err.Error(), "compression.level=3") {
			t.Errorf("a level for %s: %v", codec, err)
		}
	}
}

// firstBatch returns the first batch of partition 0 as it is stored.
func firstBatch(t testing.TB, addr, topic string) (batch kmsg.RecordBatch) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	meta := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	meta.Topics = append(meta.Topics, asked)
	known, err := meta.RequestWith(testContext(t), client)
	if err != nil {
		t.Fatal(err)
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxBytes, fetch.MaxWaitMillis, fetch.ReplicaID = 1<<20, 1000, -1
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.Topic, ft.TopicID = topic, known.Topics[0].TopicID
	fp.PartitionMaxBytes = 1 << 20
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	resp, err := fetch.RequestWith(testContext(t), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.ReadFrom(resp.Topics[0].Partitions[0].RecordBatches); err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestProducerLeavesNothingBehind(t *testing.T) {
	c := fakeCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "out"))
	frozen, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close() //nolint:errcheck // nothing is lost
	before := goleak.IgnoreCurrent()
	for _, tc := range []struct {
		name  string
		addrs []string
		flush bool
	}{
		{"flushed", c.ListenAddrs(), true},
		{"closed at once", c.ListenAddrs(), false},
		{"nobody listens", []string{"127.0.0.1:1"}, false},
		{"frozen broker", []string{frozen.Addr().String()}, false},
	} {
		p, err := producer.New(t.Context(), settings(tc.addrs...), producer.Options{Logger: silent()})
		if err != nil {
			t.Fatal(err)
		}
		var d deliveries
		sendNumbered(t, p, "out", 4, 100, &d)
		if tc.flush {
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		_ = p.Close(ctx) // in two of the cases nothing can be delivered
		cancel()
		if took := time.Since(start); took > seeds.AtMost(time.Second) {
			t.Errorf("%s: Close took %v", tc.name, took)
		}
		if d.count() != 100 {
			t.Errorf("%s: %d of 100 messages were reported", tc.name, d.count())
		}
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"))
}

// A message times out in its time although its partition's broker is busy with a request
// that it does not answer, even longer than that request's messages have.
func TestProducerTimeoutBesideARequestInFlight(t *testing.T) {
	t.Parallel()
	c := fakeCluster(t, kfake.SeedTopics(2, "out"))
	arrived, ended := make(chan struct{}, 1), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { arrived <- struct{}{}; <-ended })
		return nil, nil, false
	})
	conf := settings(c.ListenAddrs()...)
	conf.SocketTimeout, conf.MessageTimeout = 5*time.Minute, 500*time.Millisecond
	p := newProducer(t, conf, producer.Options{})
	var first deliveries
	sendNumberedOne(t, p, 0, 2, &first)
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is sent")
	}
	<-time.After(2 * conf.MessageTimeout) // the first one's time is over
	began, timedOut := time.Now(), make(chan error, 1)
	err := p.Send(testContext(t), producer.Message{Topic: "out", Partition: partition(1)}, func(_ int32, _ int64, err error) { timedOut <- err })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-timedOut:
		if e, ok := errors.AsType[*producer.DeliveryError](err); !ok || e.Kind != producer.DeliveryTimedOut || e.MaybeDelivered {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(began); took < conf.MessageTimeout {
			t.Errorf("given up after %v", took)
		}
	case <-time.After(seeds.AtMost(5 * time.Second)):
		t.Error("does not time out")
	}
	close(ended)
}
