package cluster

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// roundTrip produces one message through the client listener and reads it back.
func roundTrip(t *testing.T, c *Cluster, topic string) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	producer, err := sarama.NewSyncProducer(c.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	partition, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("hello")})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := sarama.NewConsumer(c.Addrs(), sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	claim, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	select {
	case m := <-claim.Messages():
		if string(m.Value) != "hello" {
			t.Fatalf("read %q", m.Value)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing to read 20 s after it was written")
	}
}

func TestOneBroker(t *testing.T) {
	begin := time.Now()
	c := Start(t, Options{})
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	if err := c.CreateTopic(t.Context(), "events", 3, 0); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, "events")
	if err := c.AddPartitions(t.Context(), "events", 5); err != nil {
		t.Fatal(err)
	}
	b := c.Broker(1)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if b.State() != Stopped || b.Pid() != 0 {
		t.Fatalf("after Kill: %s, pid %d", b.State(), b.Pid())
	}
	begin = time.Now()
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("back after %s", time.Since(begin).Round(time.Millisecond))
	if err := c.AwaitInSync(t.Context(), "events"); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, "events")
}

func TestThreeBrokers(t *testing.T) {
	begin := time.Now()
	c := Start(t, Options{Brokers: 3, Proxy: true})
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	if err := c.CreateTopic(t.Context(), "events", 6, 3); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, "events")
	for _, b := range c.Brokers() {
		begin = time.Now()
		if err := b.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.AwaitInSync(t.Context(), "events"); err != nil {
			t.Fatal(err)
		}
		t.Logf("broker %d restarted and in sync after %s", b.ID, time.Since(begin).Round(time.Millisecond))
	}
	roundTrip(t, c, "events")

	leader, err := c.Leader("events", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Pause(); err == nil {
		t.Fatal("a paused broker was paused again")
	}
	if err := leader.Continue(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Coordinator("some-group"); err != nil {
		t.Fatal(err)
	}
}

func TestProxy(t *testing.T) {
	c := Start(t, Options{Proxy: true})
	b := c.Broker(1)
	ask := func() (time.Duration, error) {
		begin := time.Now()
		err := request(b.Addr(), func(conn *sarama.Broker) error {
			_, err := conn.GetMetadata(&sarama.MetadataRequest{Version: 7, Topics: []string{}})
			return err
		})
		return time.Since(begin), err
	}
	steps := []struct {
		name  string
		fault func() error
		check func(time.Duration, error) bool
	}{
		{"untouched", func() error { return nil }, func(_ time.Duration, err error) bool { return err == nil }},
		{"cut", b.Cut, func(_ time.Duration, err error) bool { return err != nil }},
		{"restored after cut", b.Restore, func(_ time.Duration, err error) bool { return err == nil }},
		{"dropped", b.Drop, func(_ time.Duration, err error) bool { return err == nil }},
		{"delayed", func() error { return b.Delay(100 * time.Millisecond) }, func(d time.Duration, err error) bool { return err == nil && d >= 200*time.Millisecond }},
		{"delayed less", func() error { return b.Delay(50 * time.Millisecond) }, func(d time.Duration, err error) bool { return err == nil && d >= 100*time.Millisecond }},
		{"black hole", b.BlackHole, func(_ time.Duration, err error) bool {
			var timeout net.Error
			return errors.As(err, &timeout) && timeout.Timeout()
		}},
		{"restored after black hole", b.Restore, func(_ time.Duration, err error) bool { return err == nil }},
		{"narrow", func() error { return b.Bandwidth(1) }, func(_ time.Duration, err error) bool { return err == nil }},
		{"restored", b.Restore, func(_ time.Duration, err error) bool { return err == nil }},
	}
	for _, s := range steps {
		if err := s.fault(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if took, err := ask(); !s.check(took, err) {
			t.Fatalf("%s: a request took %s, error %v", s.name, took, err)
		}
	}
}

func TestBrokerDeathIsReported(t *testing.T) {
	if !Real() {
		t.Skip("needs Apache Kafka: set KAFKA=real")
	}
	_, err := New(t.Context(), Options{Properties: map[string]string{"num.io.threads": "none"}})
	if err == nil || !strings.Contains(err.Error(), "broker 1 died") || !strings.Contains(err.Error(), "num.io.threads") {
		t.Fatalf("got %v", err)
	}
}
