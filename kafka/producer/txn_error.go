package producer

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// TxnErrorKind is what to do about a failed transaction.
type TxnErrorKind int

const (
	// TxnAbortable: call Abort, then repeat the transaction's work, if the partitions are
	// still assigned.
	TxnAbortable TxnErrorKind = iota + 1
	// TxnFenced: another producer has acquired the transactional id, or the transaction
	// took longer than transaction.timeout.ms. Nothing of it is visible. As TxnAbortable,
	// but Begin takes the id from its current owner: make sure that the partitions are
	// still assigned.
	TxnFenced
	// TxnFatal: retrying does not help (not authorized, invalid settings).
	TxnFatal
	// TxnUnknown: ctx ended during the commit, or the coordinator's answer leaves the
	// result open. The group's committed offsets show it, once they can be read
	// (Offsets.Fetch).
	TxnUnknown
)

func (k TxnErrorKind) String() string {
	switch k {
	case TxnAbortable:
		return "transaction has to be aborted"
	case TxnFenced:
		return "transaction was taken over by another producer, or took longer than transaction.timeout.ms"
	case TxnFatal:
		return "transaction cannot work"
	case TxnUnknown:
		return "transaction may or may not be committed"
	}
	return "no kind of transaction error"
}

// TxnError is the error of TxnProducer's methods.
type TxnError struct {
	Kind TxnErrorKind
	Err  error // never nil
}

func (e *TxnError) Error() string { return fmt.Sprintf("%s: %v", e.Kind, e.Err) }
func (e *TxnError) Unwrap() error { return e.Err }

// Refused reports whether a message of the transaction was refused, which counts as an attempt
// of the call that produced it: see DeliveryError.
func (e *TxnError) Refused() bool {
	if d, ok := errors.AsType[*DeliveryError](e.Err); ok {
		return d.Refused()
	}
	return errors.Is(e.Err, sarama.ErrTopicAuthorizationFailed) || errors.Is(e.Err, sarama.ErrInvalidTopic)
}

// errRetry marks an error to retry although its code is final elsewhere.
var errRetry = errors.New("retry")

// errUnknownOutcome marks the error of a retry whose first attempt may have succeeded: the
// retry's error says nothing about that.
var errUnknownOutcome = errors.New("retried after an attempt with an unknown result")

// errNoTransaction is the error of methods that need a transaction.
var errNoTransaction = errors.New("no transaction is open: Begin comes first")

// txnError gives err its kind.
func txnError(err error) error {
	if _, ok := errors.AsType[*TxnError](err); ok {
		return err
	}
	return &TxnError{Kind: txnKind(err), Err: err}
}

// txnKind classifies after Java's TransactionManager (its request handlers).
func txnKind(err error) TxnErrorKind {
	if _, ok := errors.AsType[*kafka.OffsetsRefusedError](err); ok {
		return TxnAbortable
	}
	code, ok := errors.AsType[sarama.KError](err)
	if !ok {
		if _, _, permanent := access.Permanent(err); permanent || unencodable(err) {
			return TxnFatal
		}
		return TxnAbortable
	}
	switch code {
	case sarama.ErrProducerFenced, sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping:
		return TxnFenced
	case sarama.ErrTransactionalIDAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
		sarama.ErrGroupAuthorizationFailed, sarama.ErrInvalidGroupId, sarama.ErrUnsupportedVersion, sarama.ErrInvalidTransactionTimeout,
		sarama.ErrUnsupportedForMessageFormat:
		return TxnFatal
	}
	return TxnAbortable
}

// unencodable reports whether a request to a coordinator cannot be encoded; retrying does
// not change that.
func unencodable(err error) bool {
	_, message := errors.AsType[*DeliveryError](err)
	return !message && kafka.IsEncodingError(err)
}

// notCommitted reports whether a failed commit request certainly did not commit the
// transaction. Other errors leave it open: brokers that shut down return odd ones, and may
// have started to commit.
func notCommitted(err error) bool {
	if errors.Is(err, errUnknownOutcome) {
		return false
	}
	switch txnKind(err) {
	case TxnFenced, TxnFatal:
		return true
	}
	return errors.Is(err, sarama.ErrInvalidTxnState)
}

// retriable reports whether to retry a request to a coordinator.
func retriable(err error) bool { return moved(err) || busy(err) }

// moved reports whether to find the coordinator again: the broker is no longer the
// coordinator, or the connection failed.
func moved(err error) bool {
	if err == nil || errors.Is(err, errProducerClosed) || kafka.IsEncodingError(err) {
		return false
	}
	if code, ok := errors.AsType[sarama.KError](err); ok {
		switch code {
		case sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable,
			sarama.ErrTransactionCoordinatorFenced, sarama.ErrNetworkException, sarama.ErrRequestTimedOut:
			return true
		}
		return false
	}
	_, _, permanent := access.Permanent(err)
	return !permanent
}

// busy reports whether the coordinator cannot answer yet.
func busy(err error) bool {
	if errors.Is(err, errRetry) {
		return true
	}
	code, ok := errors.AsType[sarama.KError](err)
	if !ok {
		return false
	}
	switch code {
	case sarama.ErrOffsetsLoadInProgress, sarama.ErrConcurrentTransactions, sarama.ErrUnknownTopicOrPartition,
		sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition, sarama.ErrUnstableOffsetCommit,
		sarama.ErrThrottlingQuotaExceeded, sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrKafkaStorageError:
		return true
	}
	return false
}
