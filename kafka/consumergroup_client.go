package kafka

import (
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// GroupClient is the client of a sarama consumer group, with two differences. The group's
// leader plans for all members, and it leaves a topic out of the plan if only others
// subscribe to it and it does not exist or we are not authorized for it; sarama would fail
// the rebalance. And sarama does not fetch: package kafka/fetch does.
type GroupClient struct {
	*Client
	unopened *sarama.Broker // the leader of all partitions, as far as sarama knows

	mu    sync.Mutex
	own   []string        // guarded by mu; the topics that we subscribe to
	known map[string]bool // guarded by mu; topics that sarama has metadata of
	asOf  time.Time       // guarded by mu; when known was read
}

// LeaderAndEpoch implements sarama.Client with a broker that nobody opens: package
// kafka/fetch fetches, and sarama must not. sarama sends that broker nothing else, reports
// sarama.ErrNotConnected for each claim, and retries after Consumer.Retry.Backoff.
func (g *GroupClient) LeaderAndEpoch(string, int32) (*sarama.Broker, int32, error) {
	return g.unopened, -1, nil
}

// GetOffset implements sarama.Client: whatever offset sarama has is in range.
func (g *GroupClient) GetOffset(_ string, _ int32, time int64) (int64, error) {
	if time == sarama.OffsetOldest {
		return 0, nil
	}
	return math.MaxInt64, nil
}

// PartitionNotReadable implements sarama.Client: a claim begins though its partition has no
// leader.
func (g *GroupClient) PartitionNotReadable(string, int32) bool { return false }

// ForGroup returns a view of the client for a consumer group.
func (c *Client) ForGroup() *GroupClient {
	return &GroupClient{Client: c, unopened: sarama.NewBroker("")}
}

// Subscribe notes our own topics. Call it before each join.
func (g *GroupClient) Subscribe(topics []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own = slices.Clone(topics)
}

// RefreshMetadata implements sarama.Client. It ignores errors of topics that only other
// members subscribe to.
func (g *GroupClient) RefreshMetadata(topics ...string) error {
	err := g.Client.RefreshMetadata(topics...)
	g.mu.Lock()
	own := g.own
	g.asOf = time.Time{}
	g.mu.Unlock()
	if err == nil || len(own) == 0 {
		return err
	}
	if slices.ContainsFunc(topics, func(t string) bool { return !slices.Contains(own, t) }) {
		err = g.Client.RefreshMetadata(own...)
	}
	if errors.Is(err, sarama.ErrInvalidTopic) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return nil // of one topic: the worker reports it when it resolves its topics
	}
	return err
}

// Partitions implements sarama.Client. It returns no partitions for a topic that does not
// exist. An error would fail each rebalance that a subscriber of a deleted topic leads, and
// with it the commits of the topics that this subscriber consumes.
func (g *GroupClient) Partitions(topic string) ([]int32, error) {
	g.mu.Lock()
	if !slices.Contains(g.own, topic) && len(g.own) > 0 {
		if time.Since(g.asOf) > time.Second {
			topics, err := g.Topics()
			if err != nil {
				g.mu.Unlock()
				return nil, err
			}
			g.known, g.asOf = map[string]bool{}, time.Now()
			for _, t := range topics {
				g.known[t] = true
			}
		}
		if !g.known[topic] {
			g.mu.Unlock()
			return nil, nil
		}
	}
	g.mu.Unlock()
	partitions, err := g.Client.Partitions(topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return nil, nil
	}
	return partitions, err
}
