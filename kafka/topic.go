package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/IBM/sarama"
)

// EnsureTopic makes sure that a topic exists and that we may write to it. It creates a
// missing topic with the broker's defaults for partitions and replicas, and then returns
// created. A *TopicError is permanent; any other error may be temporary.
func (c *Client) EnsureTopic(topic string) (created bool, err error) {
	there, err := c.writable(topic)
	if there || err != nil {
		return false, err
	}
	admin, err := sarama.NewClusterAdminFromClient(c) // to close it would close the client
	if err != nil {
		return false, err
	}
	err = admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1}, false)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, sarama.ErrTopicAlreadyExists): // another worker was first
		return false, nil
	case refusesTopic(err):
		return false, &TopicError{Topic: topic, Problem: "does not exist, and the broker refuses to create it", Err: err}
	}
	return false, fmt.Errorf("create topic %s: %w", topic, err)
}

// Compacted reports whether a topic's cleanup.policy has compaction in it.
func (c *Client) Compacted(topic string) (bool, error) {
	admin, err := sarama.NewClusterAdminFromClient(c) // to close it would close the client
	if err != nil {
		return false, err
	}
	which := []*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"cleanup.policy"}}}
	answers, err := admin.DescribeConfigs(which, sarama.DescribeConfigsOptions{})
	if err != nil {
		return false, fmt.Errorf("ask for the settings of topic %s: %w", topic, err)
	}
	for _, a := range answers {
		if !errors.Is(a.ErrorCode, sarama.ErrNoError) {
			return false, fmt.Errorf("ask for the settings of topic %s: %w", topic, a.ErrorCode)
		}
		for _, s := range a.Configs {
			if s.Name == "cleanup.policy" && strings.Contains(s.Value, "compact") {
				return true, nil
			}
		}
	}
	return false, nil
}

// TopicError reports a topic that cannot be used.
type TopicError struct {
	Topic   string
	Problem string
	Err     error // the broker's answer; nil: it said nothing more
}

func (e *TopicError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("topic %s %s", e.Topic, e.Problem)
	}
	return fmt.Sprintf("topic %s %s: %v", e.Topic, e.Problem, e.Err)
}

func (e *TopicError) Unwrap() error { return e.Err }

// writable reports whether a topic exists, without creating it.
func (c *Client) writable(topic string) (there bool, err error) {
	resp, err := c.Metadata(context.Background(), &sarama.MetadataRequest{Version: 8, Topics: []string{topic}, IncludeTopicAuthorizedOperations: true})
	if err != nil {
		return false, err
	}
	for _, t := range resp.Topics {
		switch {
		case t.Name != topic:
		case errors.Is(t.Err, sarama.ErrUnknownTopicOrPartition):
			return false, nil
		case refusesTopic(t.Err):
			return false, &TopicError{Topic: topic, Problem: "cannot be used", Err: t.Err}
		case errors.Is(t.Err, sarama.ErrNoError), errors.Is(t.Err, sarama.ErrLeaderNotAvailable):
			if ops := t.TopicAuthorizedOperations; ops != math.MinInt32 && ops != 0 && ops&(1<<sarama.AclOperationWrite) == 0 {
				return true, &TopicError{Topic: topic, Problem: "may not be written to", Err: sarama.ErrTopicAuthorizationFailed}
			}
			return true, nil
		default:
			return false, fmt.Errorf("topic %s: %w", topic, t.Err)
		}
	}
	return false, fmt.Errorf("topic %s: %w", topic, sarama.ErrIncompleteResponse)
}

// refusesTopic reports whether an error is permanent, and not a broker's temporary problem.
func refusesTopic(err error) bool {
	for _, final := range []error{
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, sarama.ErrPolicyViolation,
		sarama.ErrInvalidTopic, sarama.ErrInvalidReplicationFactor, sarama.ErrInvalidPartitions, sarama.ErrInvalidConfig,
		sarama.ErrUnsupportedVersion,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}
