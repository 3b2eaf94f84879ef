package access

import (
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// Permanent distinguishes errors that retrying does not cure from temporary ones. reason
// is one line for the user, key the configuration key to change (empty: none).
func Permanent(err error) (reason, key string, ok bool) { return PermanentWith(nil, err) }

// PermanentWith is Permanent with the value of the key to change in the reason.
func PermanentWith(c *config.Config, err error) (reason, key string, ok bool) {
	if err == nil {
		return "", "", false
	}
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) { // only when none of the brokers may let us in later
		for _, err := range unreachable.Errs {
			if _, _, final := PermanentWith(c, err); !final {
				return "", "", false
			}
		}
		if len(unreachable.Errs) > 0 {
			return PermanentWith(c, unreachable.Errs[0])
		}
		return "", "", false
	}
	var ce *ConfigError
	if errors.As(err, &ce) {
		return ce.Error(), ce.Key, true
	}
	var access *BrokerError
	if errors.As(err, &access) {
		if access.Temporary {
			return "", "", false
		}
		return access.Error(), access.Key, true
	}
	var old *TooOldError
	if errors.As(err, &old) {
		if old.Temporary {
			return "", "", false
		}
		return old.Error(), "brokers", true
	}
	var sce sarama.ConfigurationError
	if errors.As(err, &sce) {
		return "invalid configuration: " + string(sce), "", true
	}
	return finalAnswer(c, err)
}

// finalAnswer lists the permanent error codes about groups, topics and transactions.
// Codes about certificates and passwords are not in it: NoteResult decides on those. c may be
// nil.
func finalAnswer(c *config.Config, err error) (reason, key string, ok bool) {
	if c == nil {
		c = &config.Config{}
	}
	switch {
	case errors.Is(err, sarama.ErrFencedInstancedId):
		return "another process has taken this member's place: two of them have the same group instance id; give each host a static_id of its own", "static_id", true
	case errors.Is(err, sarama.ErrInvalidSessionTimeout):
		return "session_timeout" + value(c.SessionTimeout) + " is outside of what the brokers allow: set it between their group.min.session.timeout.ms and group.max.session.timeout.ms", "session_timeout", true
	case errors.Is(err, sarama.ErrInvalidGroupId):
		return "group_id" + value(c.GroupID) + " is not a group id that the brokers accept: change it", "group_id", true
	case errors.Is(err, sarama.ErrInvalidTransactionTimeout):
		return "producer: transaction.timeout.ms is more than the brokers allow: lower it, or raise their transaction.max.timeout.ms", "producer", true
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return "not authorized for the topic" + detail(err, sarama.ErrTopicAuthorizationFailed) + ": have the ACL operation Read (and Describe; Write to produce) allowed", "", true
	case errors.Is(err, sarama.ErrGroupAuthorizationFailed):
		return "not authorized for the consumer group" + detail(err, sarama.ErrGroupAuthorizationFailed) + ": have the ACL operation Read allowed on it, or change group_id", "group_id", true
	case errors.Is(err, sarama.ErrTransactionalIDAuthorizationFailed):
		return "not authorized for the transactional id" + detail(err, sarama.ErrTransactionalIDAuthorizationFailed) + ": have the ACL operations Write and Describe allowed on ids that begin with the group id", "", true
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return "not authorized for the cluster" + detail(err, sarama.ErrClusterAuthorizationFailed) + ": to produce, have the ACL operation Write allowed on the topics (before Kafka 2.8 also IdempotentWrite on the cluster)", "", true
	}
	return "", "", false
}

// value is a setting's value in parentheses, empty when it is unknown.
func value[T comparable](v T) string {
	if v == *new(T) {
		return ""
	}
	return fmt.Sprintf(" (%v)", v)
}

// WithAdvice adds what to do to temporary errors that sarama words for programmers.
func WithAdvice(err error) error {
	if errors.Is(err, sarama.ErrGroupMaxSizeReached) {
		return fmt.Errorf("the group is full (group.max.size at the brokers): run fewer workers, or raise that limit: %w", err)
	}
	return err
}

// detail is the text of err without the broker's error code, which names neither topic nor
// group.
func detail(err error, answer sarama.KError) string {
	s := strings.TrimSpace(strings.ReplaceAll(err.Error(), answer.Error(), ""))
	if s = strings.Trim(s, ": "); s == "" {
		return ""
	}
	return " (" + s + ")"
}
