package producer

import (
	"errors"
	"fmt"
	"net"

	"github.com/IBM/sarama"
)

// DeliveryErrorKind is the reason why a message was not delivered.
type DeliveryErrorKind int

const (
	// DeliveryTimedOut: message_timeout passed without an acknowledgement. It
	// says nothing about the message, so it does not count as an attempt.
	DeliveryTimedOut DeliveryErrorKind = iota + 1
	// DeliveryFailed: the configured number of retries failed. Like DeliveryTimedOut it
	// does not count as an attempt.
	DeliveryFailed
	// DeliveryRefused: the message itself cannot be delivered (too large, not
	// authorized, invalid, no such topic); retrying does not help.
	DeliveryRefused
	// DeliveryClosed: the producer was closed first.
	DeliveryClosed
	// DeliveryAborted: the message's transaction was aborted, so the message was not sent,
	// or is never visible.
	DeliveryAborted
)

// errProducerClosed is the cause with which Close ends a wait for room.
var errProducerClosed = errors.New("the producer is closed")

// DeliveryError is the result of a message that was not delivered.
type DeliveryError struct {
	Kind      DeliveryErrorKind
	Topic     string
	Partition int32 // -1: none was chosen
	// MaybeDelivered is true if a request with the message got no answer: the message may
	// be in the topic.
	MaybeDelivered bool
	// Err is the last known reason, or nil.
	Err error
}

// Refused reports whether the failure counts against the message.
func (e *DeliveryError) Refused() bool { return e.Kind == DeliveryRefused }

func (e *DeliveryError) Error() string {
	what := "message"
	if e.Topic != "" {
		what = fmt.Sprintf("message for topic %q", e.Topic)
	}
	if e.Partition >= 0 {
		what += fmt.Sprintf(", partition %d,", e.Partition)
	}
	switch e.Kind {
	case DeliveryTimedOut:
		what += " not acknowledged within message_timeout"
	case DeliveryFailed:
		what += " not acknowledged in the number of tries allowed (retries)"
	case DeliveryRefused:
		what += " refused"
	case DeliveryClosed:
		what += " not delivered: the producer is closed"
	case DeliveryAborted:
		what += " not delivered: its transaction is aborted"
	}
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	return what
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// outcome is the consequence of a broker's answer for a batch.
type outcome int

const (
	outcomeRetry   outcome = iota // retry after a backoff
	outcomeRefused                // the batch, or a record in it, is refused
	outcomeNewID                  // the broker does not know the producer's id or sequence: retry with a new one
	outcomeDone                   // stored
)

// classify classifies the broker's answer to a batch after librdkafka's
// rd_kafka_handle_Produce_error and Java's Sender.completeBatch. Unknown
// codes are retried until the messages time out.
func classify(err sarama.KError) outcome {
	switch err {
	case sarama.ErrNoError, sarama.ErrDuplicateSequenceNumber:
		return outcomeDone
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping,
		sarama.ErrUnknownProducerID, sarama.ErrProducerFenced,
		sarama.ErrInvalidTxnState: // it knows of no transaction that this is of (KIP-890)
		return outcomeNewID
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, sarama.ErrInvalidMessageSize,
		sarama.ErrInvalidTopic, sarama.ErrInvalidRequiredAcks, sarama.ErrTopicAuthorizationFailed,
		sarama.ErrClusterAuthorizationFailed, sarama.ErrInvalidTimestamp, sarama.ErrUnsupportedForMessageFormat,
		sarama.ErrPolicyViolation, sarama.ErrUnsupportedVersion, sarama.ErrInvalidRecord,
		sarama.ErrTransactionalIDAuthorizationFailed, sarama.ErrInvalidRequest, sarama.ErrUnsupportedCompressionType:
		return outcomeRefused
	}
	return outcomeRetry
}

// perRecord reports whether a refusal may concern a single record of the batch, so that
// the others have to be sent without it.
func perRecord(err sarama.KError) bool {
	switch err {
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge, sarama.ErrInvalidMessageSize,
		sarama.ErrInvalidTimestamp, sarama.ErrInvalidRecord:
		return true
	}
	return false
}

// mayBeStored reports whether a failed request may have reached the log: not if it was
// never written or the broker refused it before appending anything. Most codes leave it
// open: a leader that loses its partition while it waits
// for its followers answers NOT_LEADER_OR_FOLLOWER although the next one may have
// the batch (Kafka's DelayedProduce and Partition.checkEnoughReplicasReachOffset).
func mayBeStored(err error) bool {
	if k, ok := errors.AsType[sarama.KError](err); ok {
		switch k {
		case sarama.ErrNotEnoughReplicas, sarama.ErrUnknownTopicOrPartition, sarama.ErrInvalidMessage:
			return false
		}
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return !errors.Is(err, sarama.ErrNotConnected)
}

func asError(code sarama.KError) error {
	if code == sarama.ErrNoError {
		return nil
	}
	return code
}
