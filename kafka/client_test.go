package kafka

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

// settings returns upstream's defaults where this package looks at them, with
// shorter timeouts, for the given brokers.
func settings(brokers ...string) *config.Config {
	return &config.Config{
		Brokers:                     brokers,
		ClientID:                    "racecar",
		SocketTimeout:               5 * time.Second,
		SessionTimeout:              10 * time.Second,
		HeartbeatInterval:           200 * time.Millisecond,
		MaxPollInterval:             20 * time.Second,
		MaxBytes:                    10 << 20,
		FetchMinBytes:               1,
		MaxWaitTime:                 100 * time.Millisecond,
		MessageTimeout:              300 * time.Second,
		PartitionAssignmentStrategy: []string{"range", "roundrobin"},
		SSLVerifyHostname:           true,
	}
}

func fakeCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, c *config.Config) *Client {
	t.Helper()
	conf, err := ConsumerConfig(c, ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(testContext(t), c, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, sarama.ErrClosedClient) {
			t.Error(err)
		}
	})
	return client
}

func TestBrokers(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{[]string{"kafka1"}, "kafka1:9092"},
		{[]string{"kafka1:1234", " kafka2 ", ""}, "kafka1:1234,kafka2:9092"},
		{[]string{":9093"}, "localhost:9093"},
		{[]string{"::1", "[::1]", "[::1]:9"}, "[::1]:9092,[::1]:9092,[::1]:9"},
		{nil, ""},
	} {
		if got := strings.Join(Brokers(&config.Config{Brokers: tt.in}), ","); got != tt.want {
			t.Errorf("Brokers(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestNewClient(t *testing.T) {
	cluster := fakeCluster(t, kfake.SeedTopics(3, "greetings"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	partitions, err := client.Partitions("greetings")
	if err != nil {
		t.Fatal(err)
	}
	if len(partitions) != 3 {
		t.Errorf("got %d partitions, want 3", len(partitions))
	}
}

// A broker that does not answer must not hold up one that does.
func TestNewClientSkipsSilentBroker(t *testing.T) {
	t.Parallel()
	silent := listener(t)
	cluster := fakeCluster(t)
	c := settings(silent, silent, silent, cluster.ListenAddrs()[0])
	c.SocketTimeout = time.Minute
	connect(t, c)
}

func TestNewClientUnreachable(t *testing.T) {
	gone1, gone2 := closedPort(t), closedPort(t)
	c := settings(gone1, gone2)
	conf, err := NewConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewClient(testContext(t), c, conf)
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
	want := "no broker reachable, tried " + gone1 + " (connection refused), " + gone2 + " (connection refused)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, _, ok := Permanent(err); ok {
		t.Error("unreachable brokers are permanent")
	}
}

func TestNewClientHonoursContext(t *testing.T) {
	c := settings(listener(t)) // accepts and says nothing
	c.SocketTimeout = time.Minute
	conf, err := NewConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err = NewClient(ctx, c, conf); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestNewClientOldBroker(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_3_0()), kfake.TLS(tlsConfig(ca.Issue("broker"))))
	c := tlsSettings(t, cluster, ca)
	err := try(t, c)
	reason, key, ok := Permanent(err)
	want := "broker " + cluster.ListenAddrs()[0] + " is too old: racecar needs Kafka 2.4 or newer (it does not offer LeaveGroup version 3)"
	if reason != want || key != "brokers" || !ok {
		t.Errorf("got %q, %q, %v\nwant %q", reason, key, ok, want)
	}
}

// Without TLS nothing proves that it was the broker who answered.
func TestNewClientOldBrokerWithoutTLS(t *testing.T) {
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_3_0()))
	err := try(t, settings(cluster.ListenAddrs()...))
	if _, _, final := Permanent(err); err == nil || final || !strings.Contains(err.Error(), "is too old: racecar needs Kafka 2.4 or newer") {
		t.Errorf("got %v, want that it is too old, and that it passes", err)
	}
}

// The oldest Kafka we support has what we send.
func TestKafka24(t *testing.T) {
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_4_0()), kfake.SeedTopics(1, "greetings"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	offsets := NewOffsets(client, "g")
	defer offsets.Close()
	p := TopicPartition{"greetings", 0}
	if failed, err := offsets.Commit(testContext(t), Outside, map[TopicPartition]Commit{p: {Offset: 7}}); err != nil || failed != nil {
		t.Fatal(failed, err)
	}
	got, err := offsets.Fetch(testContext(t), []TopicPartition{p})
	if err != nil || got[p].Offset != 7 {
		t.Errorf("got %v, %v, want offset 7", got, err)
	}
}

func TestHandleGetOffset(t *testing.T) {
	cluster := fakeCluster(t, kfake.SeedTopics(1, "greetings", "others"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	client.HandleGetOffset(func(topic string, _ int32, _ int64) (int64, bool, error) {
		return 42, topic == "greetings", nil
	})
	for topic, want := range map[string]int64{"greetings": 42, "others": 0} {
		if got, err := client.GetOffset(topic, 0, sarama.OffsetNewest); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", topic, got, err, want)
		}
	}
}

// A request that the broker keeps is ended by Interrupt, and so is all after it.
func TestInterrupt(t *testing.T) {
	cluster := fakeCluster(t, kfake.SeedTopics(1, "greetings"))
	kept := make(chan struct{}, 1)
	release := make(chan struct{})
	defer close(release)
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		kept <- struct{}{}
		<-release
		return nil, errors.New("dropped"), true
	})
	client := connect(t, settings(cluster.ListenAddrs()...))
	b, err := client.Coordinator("g")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.JoinGroup(&sarama.JoinGroupRequest{Version: 5, GroupId: "g", ProtocolType: "consumer"})
		done <- err
	}()
	<-kept
	client.Interrupt()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the join went through")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the join still waits")
	}
	if err := client.RefreshMetadata("greetings"); err == nil {
		t.Error("a request went through after Interrupt")
	}
}

// listener returns the address of something that accepts and never answers.
func listener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only reserved a port
	return l.Addr().String()
}
