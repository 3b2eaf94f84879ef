package cluster

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/test/harness"
)

// roundTrip produces one message and reads it back.
func roundTrip(t *testing.T, addrs []string, topic string) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	producer, err := sarama.NewSyncProducer(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	partition, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("hello")})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := sarama.NewConsumer(addrs, sarama.NewConfig())
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
	roundTrip(t, c.Addrs(), "events")
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
	roundTrip(t, c.Addrs(), "events")
}

func TestThreeBrokers(t *testing.T) {
	begin := time.Now()
	c := Start(t, Options{Brokers: 3, Listeners: []Listener{{Name: "EXTRA", Protocol: "PLAINTEXT", Host: "localhost"}}})
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	if err := c.CreateTopic(t.Context(), "events", 6, 3); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c.Addrs(), "events")
	roundTrip(t, c.ListenerAddrs("EXTRA"), "events")

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

	// A paused broker can be stopped: it is woken first.
	if err := errors.Join(leader.Pause(), leader.Stop()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "another leader", func() error {
		now, err := c.Leader("events", 0)
		if err == nil && now == leader {
			err = errors.New("still the stopped one")
		}
		return err
	})
	roundTrip(t, c.Addrs(), "events")
	begin = time.Now()
	if err := leader.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitInSync(t.Context(), "events"); err != nil {
		t.Fatal(err)
	}
	t.Logf("broker %d back and in sync after %s", leader.ID, time.Since(begin).Round(time.Millisecond))
	if _, err := c.Coordinator("some-group"); err != nil {
		t.Fatal(err)
	}
}

func TestProxy(t *testing.T) {
	c := Start(t, Options{Proxy: true})
	b := c.Broker(1)
	ask := func() (time.Duration, error) {
		conf := clientConfig()
		conf.ApiVersionsRequest = false // one request is enough
		conf.Net.ReadTimeout = time.Second
		begin := time.Now()
		conn := sarama.NewBroker(b.Addr())
		if err := conn.Open(conf); err != nil {
			return 0, err
		}
		_, err := conn.GetMetadata(&sarama.MetadataRequest{Version: 7, Topics: []string{}})
		took := time.Since(begin)
		if connected, _ := conn.Connected(); connected {
			err = errors.Join(err, conn.Close())
		}
		return took, err
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
		{"narrow", func() error { return b.Bandwidth(100) }, func(_ time.Duration, err error) bool { return err == nil }},
		{"restored", b.Restore, func(_ time.Duration, err error) bool { return err == nil }},
	}
	for _, s := range steps {
		if err := s.fault(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		took, err := ask()
		if !s.check(took, err) {
			t.Fatalf("%s: a request took %s, error %v", s.name, took, err)
		}
		t.Logf("%s: a request took %s", s.name, took)
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
