package producer

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// TxnKind says what is to be done about a transaction that failed.
type TxnKind int

const (
	// TxnAbortable: call Abort, then do the work of the transaction again, if it
	// is still yours to do.
	TxnAbortable TxnKind = iota + 1
	// TxnFenced: another producer has taken the transactional id, or the
	// transaction took longer than transaction.timeout.ms. Nothing of it will be
	// visible. As TxnAbortable, but Begin takes the id back from whoever has it:
	// make sure that the work is still yours.
	TxnFenced
	// TxnFatal: trying again does not help (not authorized, invalid settings).
	TxnFatal
	// TxnUnknown: ctx ended while the commit was under way, or the coordinator gave an
	// answer that says nothing. It may have happened:
	// the group's committed offsets tell, once they can be read (Offsets.Fetch).
	TxnUnknown
)

func (k TxnKind) String() string {
	switch k {
	case TxnAbortable:
		return "transaction is to be aborted"
	case TxnFenced:
		return "transaction was taken over by another producer, or took longer than transaction.timeout.ms"
	case TxnFatal:
		return "transaction cannot work"
	case TxnUnknown:
		return "transaction may or may not be committed"
	}
	return "no kind of transaction error"
}

// TxnError is what the methods of TxnProducer fail with.
type TxnError struct {
	Kind TxnKind
	Err  error // never nil
}

func (e *TxnError) Error() string { return fmt.Sprintf("%s: %v", e.Kind, e.Err) }
func (e *TxnError) Unwrap() error { return e.Err }

// Refused reports whether a message of the transaction was refused, which counts
// against what made it: see DeliveryError.
func (e *TxnError) Refused() bool {
	if d, ok := errors.AsType[*DeliveryError](e.Err); ok {
		return d.Refused()
	}
	return errors.Is(e.Err, sarama.ErrTopicAuthorizationFailed) || errors.Is(e.Err, sarama.ErrInvalidTopic)
}

// errAgain is in what is to be asked again although its code is final elsewhere.
var errAgain = errors.New("to be asked again")

// errOpen is in the answer to a request that may have been carried out when it was made
// before: what says no to the repetition says nothing of that.
var errOpen = errors.New("asked again after an answer that was lost or said nothing")

// errNoTransaction is returned for what needs a transaction when there is none.
var errNoTransaction = errors.New("no transaction is open: Begin comes first")

// txnError gives err its kind.
func txnError(err error) error {
	if _, ok := errors.AsType[*TxnError](err); ok {
		return err
	}
	return &TxnError{Kind: txnKind(err), Err: err}
}

// txnKind classifies after Java's TransactionManager (its request handlers).
func txnKind(err error) TxnKind {
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

// unencodable reports whether a request to a coordinator cannot be encoded, which
// no repetition changes. A message that cannot be is refused by itself.
func unencodable(err error) bool {
	_, message := errors.AsType[*DeliveryError](err)
	return !message && kafka.IsEncodingError(err)
}

// notCommitted reports whether a request to commit failed so that the transaction is
// not committed for sure. Of other answers that is not known: brokers that are going
// down give odd ones, and may have begun to commit.
func notCommitted(err error) bool {
	if errors.Is(err, errOpen) {
		return false
	}
	switch txnKind(err) {
	case TxnFenced, TxnFatal:
		return true
	}
	return errors.Is(err, sarama.ErrInvalidTxnState)
}

// passes reports whether a request to a coordinator is to be made again.
func passes(err error) bool { return moved(err) || busy(err) }

// moved reports whether the coordinator is to be looked for anew: it says that it
// is none any more, or the connection failed.
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
	if errors.Is(err, errAgain) {
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
