package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// missingTopicsError says that none of the topics is there. It passes when one is.
type missingTopicsError struct{ topics []string }

func (e *missingTopicsError) Error() string {
	if len(e.topics) == 1 {
		return fmt.Sprintf("topic %s does not exist", e.topics[0])
	}
	return fmt.Sprintf("topics %s do not exist", strings.Join(e.topics, ", "))
}

// resolve returns the topics to subscribe to: those that exist of what is named,
// and those that match a pattern. It is an error when there is none.
func (m *membership) resolve(ctx context.Context) ([]string, error) {
	found, missing, err := m.lookUpTopics(ctx)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &missingTopicsError{missing}
	}
	topics := map[string]bool{}
	for t := range found {
		topics[t] = true
	}
	if len(missing) > 0 {
		m.log.WithField("topics", missing).Warn("topics do not exist (yet)")
	}
	return sortedTopics(topics), nil
}

// lookUpTopics asks for the topics' partition counts.
func (m *membership) lookUpTopics(ctx context.Context) (found map[string]int, missing []string, err error) {
	req := &sarama.MetadataRequest{Version: 5}
	patterns := false
	for _, s := range m.subs {
		if s.TopicPattern != "" {
			patterns = true
		} else {
			req.Topics = append(req.Topics, s.Topic)
		}
	}
	if patterns {
		req.Topics = nil // all there are
	}
	resp, err := m.metadata(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	existing := map[string]int{}
	var denied error
	for _, t := range resp.Topics {
		switch {
		case errors.Is(t.Err, sarama.ErrNoError), errors.Is(t.Err, sarama.ErrLeaderNotAvailable):
			if len(t.Partitions) > 0 {
				existing[t.Name] = len(t.Partitions)
			}
		case errors.Is(t.Err, sarama.ErrTopicAuthorizationFailed):
			denied = fmt.Errorf("topic %s: %w", t.Name, t.Err)
		case errors.Is(t.Err, sarama.ErrUnknownTopicOrPartition):
		default:
			return nil, nil, fmt.Errorf("topic %s: %w", t.Name, t.Err)
		}
	}
	if denied != nil && !patterns {
		return nil, nil, denied
	}
	found = map[string]int{}
	for _, s := range m.subs {
		if s.TopicPattern == "" {
			if n, ok := existing[s.Topic]; ok {
				found[s.Topic] = n
			} else {
				missing = append(missing, s.Topic)
			}
			continue
		}
		re, err := topicPattern(s.TopicPattern)
		if err != nil {
			return nil, nil, permanentError{err}
		}
		any := false
		for t, n := range existing {
			if re.MatchString(t) && !strings.HasPrefix(t, "__") && t != m.w.cfg.DeadLetterTopic { // what failed is not to come back
				found[t], any = n, true
			}
		}
		if !any {
			missing = append(missing, "/"+s.TopicPattern+"/")
		}
	}
	return found, missing, nil
}

// topicPattern compiles a pattern that the whole name must match.
func topicPattern(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("Subscription.TopicPattern %q: %w", pattern, err)
	}
	return re, nil
}

// metadata asks some broker. It does not touch what sarama keeps, so that a
// pattern does not make it follow all topics of the cluster.
func (m *membership) metadata(ctx context.Context, req *sarama.MetadataRequest) (*sarama.MetadataResponse, error) {
	var last error
	for range 3 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b := m.client.LeastLoadedBroker()
		if b == nil {
			if last == nil {
				last = sarama.ErrOutOfBrokers
			}
			return nil, last
		}
		_ = b.Open(m.client.Config()) // already open, most of the time; its use tells
		resp, err := b.GetMetadata(req)
		if err == nil {
			return resp, nil
		}
		last = err
		_ = b.Close() // not usable any more; opened again by whoever needs it
	}
	return nil, last
}

// lookUpLimit bounds the question whether a topic is there: who asks holds up commits.
const lookUpLimit = 2 * time.Second

// deleted finds the partitions that a group's coordinator does not know and that brokers'
// metadata does not have either. A coordinator may be late to hear of a topic; where
// brokers do not answer, it counts as late.
func (m *membership) deleted(refused map[kafka.TopicPartition]error) map[kafka.TopicPartition]bool {
	topics := map[string]bool{}
	gone := map[kafka.TopicPartition]bool{}
	for k, err := range refused {
		if err != nil && kafka.ClassifyCommit(err) == kafka.CommitUnknownTopic {
			topics[k.Topic], gone[k] = true, true
		}
	}
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookUpLimit)
	defer cancel()
	answers := make(chan *sarama.MetadataResponse, 1)
	go func() {
		resp, err := m.metadata(ctx, &sarama.MetadataRequest{Version: 5, Topics: sortedTopics(topics)})
		if err != nil {
			m.log.WithError(err).Debug("looking for topics that the coordinator does not know")
			resp = &sarama.MetadataResponse{}
		}
		answers <- resp
	}()
	var resp *sarama.MetadataResponse
	select {
	case resp = <-answers:
	case <-ctx.Done():
		return nil
	}
	for k := range gone {
		i := slices.IndexFunc(resp.Topics, func(t *sarama.TopicMetadata) bool { return t.Name == k.Topic })
		switch {
		case i < 0:
			delete(gone, k)
		case errors.Is(resp.Topics[i].Err, sarama.ErrUnknownTopicOrPartition):
		case !errors.Is(resp.Topics[i].Err, sarama.ErrNoError), // no saying
			slices.ContainsFunc(resp.Topics[i].Partitions, func(p *sarama.PartitionMetadata) bool { return p.ID == k.Partition }):
			delete(gone, k)
		}
	}
	return gone
}

// noteCounts remembers the partition counts before a join: what the group's
// leader sees is the same or more.
func (m *membership) noteCounts(topics []string) {
	counts := map[string]int{}
	for _, t := range topics {
		if parts, err := m.client.Partitions(t); err == nil {
			counts[t] = len(parts)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = counts
}

// watchTopics rejoins when there are more partitions, or other topics, than when
// we joined. sarama leaves that to the group's leader, and a static leader that
// was restarted does not know that it is one.
func (m *membership) watchTopics(ctx context.Context) {
	every := m.w.cfg.TopicMetadataRefreshInterval
	if every <= 0 {
		return
	}
	for sleep(ctx, every) {
		if !m.outdated(ctx) {
			continue
		}
		// All members notice at about the same time; one rejoin is enough, and
		// each of them costs a moment's standstill.
		if !sleep(ctx, rand.N(every/2+1)) {
			return
		}
		if m.outdated(ctx) {
			m.log.Info("topics or partitions changed: joining again")
			m.rejoin(ctx)
		}
	}
}

func (m *membership) outdated(ctx context.Context) bool {
	found, _, err := m.lookUpTopics(ctx)
	if err != nil {
		m.log.WithError(err).Debug("looking for new partitions")
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = found
	if m.counts == nil {
		return false // not joined yet
	}
	for t, n := range found {
		if m.counts[t] < n {
			return true
		}
	}
	return false
}

// startFrom is where a partition of topic starts that has no commit.
func (m *membership) startFrom(topic string) racecar.StartFrom {
	i := slices.IndexFunc(m.subs, func(s racecar.Subscription) bool { return s.Topic == topic })
	if i < 0 {
		i = slices.IndexFunc(m.subs, func(s racecar.Subscription) bool {
			re, err := topicPattern(s.TopicPattern)
			return s.TopicPattern != "" && err == nil && re.MatchString(topic)
		})
	}
	if i < 0 {
		return racecar.Beginning
	}
	return m.subs[i].StartFrom
}
