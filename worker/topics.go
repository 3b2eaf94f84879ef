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

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
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
	found, missing, err := m.queryTopics(ctx)
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

// queryTopics asks the brokers for the topics of the subscriptions.
func (m *membership) queryTopics(ctx context.Context) (found map[string]int, missing []string, err error) {
	patterns := slices.ContainsFunc(m.subs, func(s racecar.Subscription) bool { return s.TopicPattern != "" })
	req := &sarama.MetadataRequest{Version: 10} // sarama lowers it to what the broker has
	for _, s := range m.subs {
		if !patterns { // else of all there are
			req.Topics = append(req.Topics, s.Topic)
		}
	}
	resp, err := m.client.Metadata(ctx, req)
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
		case errors.Is(t.Err, sarama.ErrUnknownTopicOrPartition), errors.Is(t.Err, sarama.ErrInvalidTopic): // this one alone
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
			if re.MatchString(t) && !strings.HasPrefix(t, "__") && !m.w.leavesOut(s.TopicPattern, t) {
				found[t], any = n, true
			}
		}
		if !any {
			missing = append(missing, "/"+s.TopicPattern+"/")
		}
	}
	return found, missing, nil
}

// leavesOut reports whether a pattern does not mean a topic that it matches: a
// dead-letter topic, unless it names it. What failed would come back, and with several
// consumers it would go round and multiply.
func (w *worker) leavesOut(pattern, topic string) bool {
	return topic == w.cfg.DeadLetterTopic || w.isDeadLetterTopic(topic) && !namesTopic(pattern, topic)
}

// namesTopic reports whether a pattern ends as a topic's name does, from its last dot on.
func namesTopic(pattern, topic string) bool {
	return strings.HasSuffix(strings.TrimRight(pattern, "$)"), topic[max(0, strings.LastIndexByte(topic, '.')):])
}

// bringsIn reports whether a topic is consumed only because a pattern matches it that
// does not name it.
func (m *membership) bringsIn(topic string) bool {
	return !slices.ContainsFunc(m.subs, func(s racecar.Subscription) bool {
		return s.Topic == topic || s.TopicPattern != "" && namesTopic(s.TopicPattern, topic)
	})
}

// isDeadLetterTopic reports whether a topic is known to be one: by its name, or since it
// is that of a registered consumer.
func (w *worker) isDeadLetterTopic(topic string) bool {
	return strings.HasSuffix(topic, config.DeadLetterTopicFor("")) || topic == w.cfg.DeadLetterTopic ||
		slices.ContainsFunc(registered.Consumers(), func(r *racecar.Registration) bool { return r.Spec().DeadLetterTopic == topic })
}

// topicPattern compiles a pattern that the whole name must match.
func topicPattern(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("Subscription.TopicPattern %q: %w", pattern, err)
	}
	return re, nil
}

// topicQueryTimeout bounds the request whether a topic exists, which holds up commits.
const topicQueryTimeout = 2 * time.Second

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
	ctx, cancel := context.WithTimeout(context.Background(), topicQueryTimeout)
	defer cancel()
	answers := make(chan *sarama.MetadataResponse, 1)
	go func() {
		resp, err := m.client.Metadata(ctx, &sarama.MetadataRequest{Version: 5, Topics: sortedTopics(topics)})
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
	m.counts, m.subscribed = counts, topics
}

// watchTopics rejoins when there are more partitions, or other topics, than when
// we joined. sarama leaves that to the group's leader, and a static leader that
// was restarted does not know that it is one; and as long as a cooperative session
// lives, sarama goes on with the topics that it began with.
func (m *membership) watchTopics(ctx context.Context) {
	every := m.w.cfg.TopicMetadataRefreshInterval
	if every <= 0 {
		return
	}
	for m.awaitCheck(ctx, every) {
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

// awaitCheck waits until it is time to compare topics: after every, or soon after a fetch
// found that a topic does not exist (any more). False when ctx ended.
func (m *membership) awaitCheck(ctx context.Context, every time.Duration) bool {
	timer := time.NewTimer(every)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.unknown:
		return sleep(ctx, min(every, soonAfter))
	case <-ctx.Done():
		return false
	}
}

// soonAfter is the pause before topics are compared because a fetch found none.
const soonAfter = 200 * time.Millisecond

// outdated reports whether there are other topics than those we joined for, or more
// partitions.
func (m *membership) outdated(ctx context.Context) bool {
	found, _, err := m.queryTopics(ctx)
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
	for t, n := range m.seen {
		if m.counts[t] < n || !slices.Contains(m.subscribed, t) {
			return true
		}
	}
	return slices.ContainsFunc(m.subscribed, func(t string) bool { return m.seen[t] == 0 })
}

// subscriptionOf is which of m.subs brings a topic; negative: none.
func (m *membership) subscriptionOf(topic string) int {
	i := slices.IndexFunc(m.subs, func(s racecar.Subscription) bool { return s.Topic == topic })
	if i < 0 {
		i = slices.IndexFunc(m.subs, func(s racecar.Subscription) bool {
			re, err := topicPattern(s.TopicPattern)
			return s.TopicPattern != "" && err == nil && re.MatchString(topic)
		})
	}
	return i
}
