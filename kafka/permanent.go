package kafka

import (
	"errors"
	"strings"

	"github.com/IBM/sarama"
)

// Permanent tells failures that trying again does not cure from those that
// pass. reason is one line for the user, key the configuration key to change
// (empty when it is none).
func Permanent(err error) (reason, key string, ok bool) {
	if err == nil {
		return "", "", false
	}
	var ce *ConfigError
	if errors.As(err, &ce) {
		return ce.Error(), ce.Key, true
	}
	var access *AccessError
	if errors.As(err, &access) {
		if access.Passes {
			return "", "", false
		}
		return access.Error(), access.Key, true
	}
	var old *TooOldError
	if errors.As(err, &old) {
		return old.Error(), "brokers", true
	}
	var sce sarama.ConfigurationError
	if errors.As(err, &sce) {
		return "invalid configuration: " + string(sce), "", true
	}
	switch {
	case errors.Is(err, sarama.ErrFencedInstancedId):
		return "another process has taken this member's place: two of them have the same group instance id; give each host a static_id of its own", "static_id", true
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return "not authorized for the topic" + detail(err, sarama.ErrTopicAuthorizationFailed) + ": have the ACL operation Read (and Describe; Write to produce) allowed", "", true
	case errors.Is(err, sarama.ErrGroupAuthorizationFailed):
		return "not authorized for the consumer group" + detail(err, sarama.ErrGroupAuthorizationFailed) + ": have the ACL operation Read allowed on it, or change group_id", "group_id", true
	case errors.Is(err, sarama.ErrTransactionalIDAuthorizationFailed):
		return "not authorized for the transactional id" + detail(err, sarama.ErrTransactionalIDAuthorizationFailed) + ": have the ACL operations Write and Describe allowed on ids that begin with the group id", "", true
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return "not authorized for the cluster" + detail(err, sarama.ErrClusterAuthorizationFailed) + ": to produce, have the ACL operation Write allowed on the topics (before Kafka 2.8 also IdempotentWrite on the cluster)", "", true
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return "wrong credentials" + said(err), "sasl_password", true
	case errors.Is(err, sarama.ErrUnsupportedSASLMechanism):
		return "the broker does not offer this sasl_mechanism", "sasl_mechanism", true
	}
	if e := (&AccessError{}); explainAlert(e, err, true) && e.Key != "" {
		return "the broker " + e.Problem, e.Key, true
	}
	return "", "", false
}

// detail is what err says beyond the broker's bare answer, which names neither
// topic nor group.
func detail(err error, answer sarama.KError) string {
	s := strings.TrimSpace(strings.ReplaceAll(err.Error(), answer.Error(), ""))
	if s = strings.Trim(s, ": "); s == "" {
		return ""
	}
	return " (" + s + ")"
}
