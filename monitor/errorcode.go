package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/IBM/sarama"
)

// errorCode is librdkafka's name for an error (rd_kafka_err2name), in lower case
// and without the underscore of its own codes, as it stands in upstream's metric
// consumer.poll.rdkafka_error.<code>.
func errorCode(err error) string {
	var code sarama.KError
	var timeout net.Error
	switch {
	case err == nil:
		return "no_error"
	case errors.As(err, &code):
		if name, ok := brokerCodes[code]; ok {
			return name
		}
		return "unknown"
	case errors.Is(err, sarama.ErrOutOfBrokers):
		return "all_brokers_down"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "timed_out"
	case errors.As(err, &timeout), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, sarama.ErrNotConnected), errors.Is(err, sarama.ErrBrokerNotFound):
		return "transport"
	case strings.Contains(err.Error(), "x509:"), strings.Contains(err.Error(), "tls:"):
		return "ssl"
	}
	return "fail"
}

// brokerCodes are the codes of the protocol that a consumer meets.
var brokerCodes = map[sarama.KError]string{
	sarama.ErrNoError:                            "no_error",
	sarama.ErrUnknown:                            "unknown",
	sarama.ErrOffsetOutOfRange:                   "offset_out_of_range",
	sarama.ErrInvalidMessage:                     "invalid_msg",
	sarama.ErrUnknownTopicOrPartition:            "unknown_topic_or_part",
	sarama.ErrInvalidMessageSize:                 "invalid_msg_size",
	sarama.ErrLeaderNotAvailable:                 "leader_not_available",
	sarama.ErrNotLeaderForPartition:              "not_leader_for_partition",
	sarama.ErrRequestTimedOut:                    "request_timed_out",
	sarama.ErrBrokerNotAvailable:                 "broker_not_available",
	sarama.ErrReplicaNotAvailable:                "replica_not_available",
	sarama.ErrMessageSizeTooLarge:                "msg_size_too_large",
	sarama.ErrOffsetMetadataTooLarge:             "offset_metadata_too_large",
	sarama.ErrNetworkException:                   "network_exception",
	sarama.ErrOffsetsLoadInProgress:              "coordinator_load_in_progress",
	sarama.ErrConsumerCoordinatorNotAvailable:    "coordinator_not_available",
	sarama.ErrNotCoordinatorForConsumer:          "not_coordinator",
	sarama.ErrInvalidTopic:                       "topic_exception",
	sarama.ErrIllegalGeneration:                  "illegal_generation",
	sarama.ErrInconsistentGroupProtocol:          "inconsistent_group_protocol",
	sarama.ErrInvalidGroupId:                     "invalid_group_id",
	sarama.ErrUnknownMemberId:                    "unknown_member_id",
	sarama.ErrInvalidSessionTimeout:              "invalid_session_timeout",
	sarama.ErrRebalanceInProgress:                "rebalance_in_progress",
	sarama.ErrInvalidCommitOffsetSize:            "invalid_commit_offset_size",
	sarama.ErrTopicAuthorizationFailed:           "topic_authorization_failed",
	sarama.ErrGroupAuthorizationFailed:           "group_authorization_failed",
	sarama.ErrClusterAuthorizationFailed:         "cluster_authorization_failed",
	sarama.ErrInvalidTimestamp:                   "invalid_timestamp",
	sarama.ErrUnsupportedSASLMechanism:           "unsupported_sasl_mechanism",
	sarama.ErrIllegalSASLState:                   "illegal_sasl_state",
	sarama.ErrUnsupportedVersion:                 "unsupported_version",
	sarama.ErrNotController:                      "not_controller",
	sarama.ErrSASLAuthenticationFailed:           "sasl_authentication_failed",
	sarama.ErrKafkaStorageError:                  "kafka_storage_error",
	sarama.ErrGroupMaxSizeReached:                "group_max_size_reached",
	sarama.ErrFencedInstancedId:                  "fenced_instance_id",
	sarama.ErrMemberIdRequired:                   "member_id_required",
	sarama.ErrFencedLeaderEpoch:                  "fenced_leader_epoch",
	sarama.ErrUnknownLeaderEpoch:                 "unknown_leader_epoch",
	sarama.ErrUnstableOffsetCommit:               "unstable_offset_commit",
	sarama.ErrThrottlingQuotaExceeded:            "throttling_quota_exceeded",
	sarama.ErrTransactionalIDAuthorizationFailed: "transactional_id_authorization_failed",
}
