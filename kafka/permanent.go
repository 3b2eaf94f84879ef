package kafka

import (
	"errors"

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
		return "group instance id is fenced: another process has the same one; give each host its own static_id", "static_id", true
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return "not authorized to access the topic: " + err.Error(), "", true
	case errors.Is(err, sarama.ErrGroupAuthorizationFailed):
		return "not authorized to access the consumer group: " + err.Error(), "group_id", true
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return "not authorized to access the cluster: " + err.Error(), "", true
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return "authentication failed: " + err.Error(), "sasl_password", true
	case errors.Is(err, sarama.ErrUnsupportedSASLMechanism):
		return "the broker does not offer this sasl_mechanism", "sasl_mechanism", true
	}
	return "", "", false
}
