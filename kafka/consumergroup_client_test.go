package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// claimCounter counts the claims that are open, and reads until they end.
type claimCounter struct{ open atomic.Int32 }

func (*claimCounter) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*claimCounter) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (c *claimCounter) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	c.open.Add(1)
	defer c.open.Add(-1)
	for range claim.Messages() { //nolint:revive // it is closed at the end of the claim
	}
	return nil
}

// sarama begins claims, gives them up and ends without asking for a message, for an offset
// of the log, or for what is committed: at the start, when leaders move, in a cooperative
// revocation and while messages come.
func TestSaramaFetchesNothing(t *testing.T) {
	const partitions = 20
	cluster := fakeCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(partitions, "t"))
	var mu sync.Mutex
	asked := map[kmsg.Key]int{}
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetFetch, kmsg.Heartbeat} {
		cluster.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			asked[key]++
			return nil, nil, false
		})
	}
	consume := func() (*claimCounter, func()) {
		c := settings(cluster.ListenAddrs()...)
		c.PartitionAssignmentStrategy = []string{"cooperative-sticky"}
		client := connect(t, c)
		view := client.ForGroup()
		view.Subscribe([]string{"t"})
		group, err := sarama.NewConsumerGroupFromClient("group", view)
		if err != nil {
			t.Fatal(err)
		}
		counter, over := &claimCounter{}, make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(over)
			for ctx.Err() == nil {
				if err := group.Consume(ctx, []string{"t"}, counter); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		go func() {
			for range group.Errors() { //nolint:revive // that it cannot fetch is expected
			}
		}()
		return counter, func() { cancel(); <-over; _ = group.Close() }
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !done(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	heartbeats := func(n int) {
		t.Helper()
		mu.Lock()
		n += asked[kmsg.Heartbeat]
		mu.Unlock()
		until("heartbeats", func() bool { mu.Lock(); defer mu.Unlock(); return asked[kmsg.Heartbeat] >= n })
	}
	first, stopFirst := consume()
	until("all claims", func() bool { return first.open.Load() == partitions })
	heartbeats(2)
	cluster.ShufflePartitionLeaders()
	heartbeats(2)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 1000 {
		cl.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	heartbeats(2)
	second, stopSecond := consume()
	until("half of the claims each", func() bool { return first.open.Load() == partitions/2 && second.open.Load() == partitions/2 })
	heartbeats(2)
	began := time.Now()
	stopSecond()
	stopFirst()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	mu.Lock()
	defer mu.Unlock()
	delete(asked, kmsg.Heartbeat)
	if len(asked) > 0 {
		t.Errorf("sarama asked: %v", asked)
	}
}
