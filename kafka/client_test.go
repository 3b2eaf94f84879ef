package kafka

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
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
	conf, err := consumerConfig(c, ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(testContext(t), conf)
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

// try connects once, with configuration c.
func try(t *testing.T, c *config.Config) error {
	t.Helper()
	a, err := access.New(c, nil)
	if err != nil {
		return err
	}
	client, err := NewClient(testContext(t), NewConfig(a))
	if err != nil {
		return err
	}
	return client.Close()
}

func consumerConfig(c *config.Config, opts ConsumerOptions) (*Config, error) {
	a, err := access.New(c, nil)
	if err != nil {
		return nil, err
	}
	return ConsumerConfig(a, opts)
}

func producerConfig(c *config.Config) (*Config, error) {
	a, err := access.New(c, nil)
	if err != nil {
		return nil, err
	}
	return ProducerConfig(a)
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
	err := try(t, c)
	var unreachable *access.UnreachableError
	if !errors.As(err, &unreachable) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
	want := "no broker reachable, tried " + gone1 + " (connection refused), " + gone2 + " (connection refused)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, _, ok := access.Permanent(err); ok {
		t.Error("unreachable brokers are permanent")
	}
}

func TestNewClientHonoursContext(t *testing.T) {
	c := settings(listener(t)) // accepts and says nothing
	c.SocketTimeout = time.Minute
	a, err := access.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err = NewClient(ctx, NewConfig(a)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// The oldest Kafka we support has what we send.
func TestKafka24(t *testing.T) {
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_4_0()), kfake.SeedTopics(1, "greetings"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	offsets := NewOffsets(client, "g")
	defer offsets.Close()
	p := TopicPartition{"greetings", 0}
	if failed, err := offsets.Commit(testContext(t), NoMember, map[TopicPartition]Commit{p: {Offset: 7}}); err != nil || failed != nil {
		t.Fatal(failed, err)
	}
	got, err := offsets.Fetch(testContext(t), []TopicPartition{p})
	if err != nil || got[p].Offset != 7 {
		t.Errorf("got %v, %v, want offset 7", got, err)
	}
}

// A request that the broker keeps is ended by Abort, and so is all after it.
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
	client.Abort()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the join went through")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the join still waits")
	}
	if err := client.RefreshMetadata("greetings"); err == nil {
		t.Error("a request went through after Abort")
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
