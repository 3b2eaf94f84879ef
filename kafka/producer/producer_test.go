package producer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecartest"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/pki"
	"github.com/racecar-go/racecar/test/seeds"
)

func settings(brokers ...string) *config.Config {
	return &config.Config{
		Brokers:                      brokers,
		ClientID:                     "racecar-test",
		SocketTimeout:                5 * time.Second,
		MessageTimeout:               30 * time.Second,
		TopicMetadataRefreshInterval: time.Minute,
		SSLVerifyHostname:            true,
	}
}

func silent() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// testLog shows the log of a test that fails, or of all with -v.
func testLog(t testing.TB) logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(t.Output())
	return l
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newProducer(t testing.TB, c *config.Config, o producer.Options) *producer.Producer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = silent()
	}
	p, err := producer.New(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // tests that look at its error call it themselves
	})
	return p
}

// deliveries records the calls of Done.
type deliveries struct {
	mu      sync.Mutex
	results map[string]result
	// order holds, by partition, the ids in the order of their Done.
	order map[int32][]string
	twice []string
}

type result struct {
	partition int32
	offset    int64
	err       error
}

func (d *deliveries) done(id string) producer.Done {
	return func(partition int32, offset int64, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.results == nil {
			d.results, d.order = map[string]result{}, map[int32][]string{}
		}
		if _, again := d.results[id]; again {
			d.twice = append(d.twice, id)
		}
		d.results[id] = result{partition, offset, err}
		d.order[partition] = append(d.order[partition], id)
	}
}

func (d *deliveries) get(id string) (result, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.results[id]
	return e, ok
}

func (d *deliveries) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.results)
}

func partition(n int32) *int32 { return &n }

func TestProducerDeliversInOrder(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 7)
	p := newProducer(t, settings(b.Addrs()[0]), producer.Options{})
	const n = 5000
	var d deliveries
	for i := range n {
		id := fmt.Sprint(i)
		err := p.Send(testContext(t), producer.Message{Topic: "out", Key: fmt.Appendf(nil, "key %d", i%50), Value: []byte(id)}, d.done(id))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := d.count(); got != n {
		t.Fatalf("Flush returned with %d of %d messages reported", got, n)
	}
	messages := b.Messages("out")
	if len(messages) != n {
		t.Fatalf("%d messages in the topic, want %d", len(messages), n)
	}
	last := map[int32]int{}
	for _, m := range messages {
		e, _ := d.get(string(m.Value))
		if e.err != nil || e.partition != m.Partition || e.offset != m.Offset {
			t.Fatalf("message %s is at %d/%d, Done was told %+v", m.Value, m.Partition, m.Offset, e)
		}
		var i int
		if _, err := fmt.Sscan(string(m.Value), &i); err != nil {
			t.Fatal(err)
		}
		if before, seen := last[m.Partition]; seen && i < before {
			t.Fatalf("partition %d: message %d after message %d", m.Partition, i, before)
		}
		last[m.Partition] = i
	}
	if len(d.twice) > 0 {
		t.Errorf("Done called twice for %v", d.twice)
	}
}

func TestProducerKeepsTheWholeMessage(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 4)
	p := newProducer(t, settings(b.Addrs()[0]), producer.Options{})
	at := time.UnixMilli(1_700_000_000_123)
	err := p.Send(testContext(t), producer.Message{Topic: "out", Partition: partition(3), Key: []byte{}, Value: nil, Timestamp: at,
		Headers: []producer.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	m := b.Messages("out")[0]
	if m.Partition != 3 || m.Key == nil || len(m.Key) != 0 || m.Value != nil || !m.Timestamp.Equal(at) {
		t.Errorf("got %+v", m)
	}
	if got := fmt.Sprintf("%q", m.Headers); got != `[{"a" "1"} {"a" ""} {"" ""}]` || m.Headers[1].Value != nil || m.Headers[2].Value == nil {
		t.Errorf("headers are %s", got)
	}
}

func TestProducerBuffersWithoutABroker(t *testing.T) {
	var log bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&syncWriter{w: &log})
	c := settings("127.0.0.1:1") // nobody listens there
	c.MessageTimeout = 700 * time.Millisecond
	p := newProducer(t, c, producer.Options{Logger: logger, BufferBytes: 2000})
	var d deliveries
	start := time.Now()
	sent := 0
	for ; ; sent++ {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := p.Send(ctx, producer.Message{Topic: "out", Value: make([]byte, 100)}, d.done(fmt.Sprint(sent)))
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no room to produce") {
				t.Errorf("the error is %v", err)
			}
			break
		}
	}
	if sent < 8 || sent > 12 {
		t.Errorf("%d messages of 100 bytes fit into 2000 bytes", sent)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < c.MessageTimeout || took > seeds.AtMost(5*c.MessageTimeout) {
		t.Errorf("given up after %v, message_timeout is %v", took, c.MessageTimeout)
	}
	for i := range sent {
		e, ok := d.get(fmt.Sprint(i))
		de, isDelivery := errors.AsType[*producer.DeliveryError](e.err)
		if !ok || !isDelivery || de.Kind != producer.DeliveryTimedOut || de.Refused() || de.MaybeDelivered {
			t.Fatalf("message %d ended with %+v", i, e)
		}
		if want := `message for topic "out" not acknowledged within message_timeout: no broker reachable, tried 127.0.0.1:1 (`; !strings.HasPrefix(de.Error(), want) {
			t.Errorf("the error says %q, want it to begin with %q", de, want)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "127.0.0.1:1") {
		t.Errorf("logged %d lines, want one that names the address:\n%s", lines, log.String())
	}
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

func TestProducerBufferIsConfigured(t *testing.T) {
	t.Parallel()
	c := settings("127.0.0.1:1")
	c.Producer = []string{"queue.buffering.max.kbytes=1"}
	p := newProducer(t, c, producer.Options{})
	m := producer.Message{Topic: "out", Value: make([]byte, 500)}
	if err := p.Send(testContext(t), m, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Send(ctx, m, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second message of 500 bytes finds room in 1 KiB: %v", err)
	}
	if messages, bytes := p.Buffered(); messages != 1 || bytes < 500 || bytes > 1024 {
		t.Errorf("%d messages with %d bytes are buffered", messages, bytes)
	}
}

func TestProducerRefusesInvalidMessages(t *testing.T) {
	p := newProducer(t, settings("127.0.0.1:1"), producer.Options{})
	for name, m := range map[string]producer.Message{
		"no topic is set":       {Value: []byte("x")},
		"has 250 characters":    {Topic: strings.Repeat("t", 250)},
		"partition -1 is neg":   {Topic: "out", Partition: partition(-1)},
		"1969-12-31T23:59:59":   {Topic: "out", Timestamp: time.Unix(-1, 999e6).UTC()},
		"timestamp 2262-04-12":  {Topic: "out", Timestamp: time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC)},
		"of message.max.bytes":  {Topic: "out", Value: make([]byte, 1_000_001)},
		"of message.max.bytes ": {Topic: "out", Headers: []producer.Header{{Value: make([]byte, 1_000_001)}}},
	} {
		err := p.Send(testContext(t), m, func(int32, int64, error) { t.Errorf("%s: Done was called", name) })
		if de, ok := errors.AsType[*producer.DeliveryError](err); !ok || !de.Refused() || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProducerRefusesMissingPartition(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 2)
	p := newProducer(t, settings(b.Addrs()[0]), producer.Options{})
	var d deliveries
	for i := range int32(4) {
		if err := p.Send(testContext(t), producer.Message{Topic: "out", Partition: &i}, d.done(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		e, _ := d.get(fmt.Sprint(i))
		de, failed := errors.AsType[*producer.DeliveryError](e.err)
		if failed != (i >= 2) || failed && (!de.Refused() || !strings.Contains(de.Error(), "2 partitions")) {
			t.Errorf("partition %d: %+v", i, e)
		}
	}
}

func TestProducerCloseReportsUndeliveredMessages(t *testing.T) {
	p := newProducer(t, settings("127.0.0.1:1"), producer.Options{})
	var d deliveries
	for i := range 3 {
		if err := p.Send(testContext(t), producer.Message{Topic: "out"}, d.done(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "the refusal of the connection", func() error {
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := p.Connect(soon); !strings.Contains(err.Error(), "refused") {
			return err
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 messages") {
		t.Errorf("Close returned %v", err)
	}
	if d.count() != 3 {
		t.Errorf("%d of 3 messages were reported", d.count())
	}
	for id, e := range d.results {
		if de, ok := errors.AsType[*producer.DeliveryError](e.err); !ok || de.Kind != producer.DeliveryClosed || de.Refused() || !strings.Contains(de.Error(), "127.0.0.1:1 (connection refused)") {
			t.Errorf("message %s: %v", id, e.err)
		}
	}
	err := p.Send(testContext(t), producer.Message{Topic: "out"}, nil)
	if de, ok := errors.AsType[*producer.DeliveryError](err); !ok || de.Kind != producer.DeliveryClosed {
		t.Errorf("Send after Close returned %v", err)
	}
	if err := p.Close(ctx); err != nil {
		t.Errorf("the second Close returned %v", err)
	}
	if err := p.Connect(ctx); err == nil {
		t.Error("Connect after Close returned nil")
	}
}

func TestProducerNeverUsed(t *testing.T) {
	p := newProducer(t, settings("127.0.0.1:1"), producer.Options{})
	if err := p.Flush(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestProducerConnect(t *testing.T) {
	b := racecartest.NewBroker(t)
	if err := newProducer(t, settings("127.0.0.1:1", b.Addrs()[0]), producer.Options{}).Connect(testContext(t)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := newProducer(t, settings("127.0.0.1:1"), producer.Options{}).Connect(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no broker reachable, tried 127.0.0.1:1 (connection refused)") {
		t.Errorf("no broker: %v", err)
	}
}

func TestProducerConnectIsRefused(t *testing.T) {
	ca := pki.Root(t, "Test CA") // without TLS nobody can turn us away for good
	c := fakeCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "password"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("broker").TLS()}}))
	conf := settings(c.ListenAddrs()...)
	conf.SSLVerifyHostname, conf.SSLCALocation = true, pki.File(t, "ca.pem", ca.CertPEM())
	conf.SecurityProtocol, conf.SASLMechanism = "sasl_ssl", "OAUTHBEARER" // not offered there
	conf.OAuthToken = func(context.Context) (config.OAuthToken, error) { return config.OAuthToken{Token: "t"}, nil }
	err := newProducer(t, conf, producer.Options{}).Connect(testContext(t))
	if _, _, permanent := access.Permanent(err); !permanent || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	conf.SASLMechanism, conf.SASLUsername, conf.SASLPassword = "PLAIN", "user", "password"
	if err := newProducer(t, conf, producer.Options{}).Connect(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestProducerRetriesAndAcks(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	conf := settings(c.ListenAddrs()...)
	conf.Producer = []string{"retries=2", "retry.backoff.ms=10"}
	p := newProducer(t, conf, producer.Options{})
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1})
	var d deliveries
	sendNumbered(t, p, "out", 1, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	e, _ := d.get("0")
	if de, ok := errors.AsType[*producer.DeliveryError](e.err); !ok || de.Kind != producer.DeliveryFailed || de.Refused() || !de.MaybeDelivered || fault.Hits() != 3 {
		t.Errorf("retries=2: %v after %d requests", e.err, fault.Hits())
	}
	fault.Remove()
	for _, property := range []string{"acks=1", "acks=0", "enable.idempotence=false"} {
		conf.Producer = []string{property}
		p := newProducer(t, conf, producer.Options{})
		d = deliveries{}
		sendNumbered(t, p, "out", 1, 3, &d)
		if err := p.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
		for id, e := range d.results {
			if e.err != nil {
				t.Errorf("%s: message %s: %v", property, id, e.err)
			}
		}
	}
}
