package producer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// Every code that brokers answer OffsetCommit and TxnOffsetCommit with has one meaning.
func TestCommitAnswers(t *testing.T) {
	type meaning struct {
		answer kafka.CommitErrorKind
		txn    TxnErrorKind // of the same code in a transaction
	}
	known := map[*kerr.Error]meaning{
		kerr.UnknownServerError:                 {kafka.CommitRetriable, TxnAbortable},
		kerr.RequestTimedOut:                    {kafka.CommitRetriable, TxnAbortable},
		kerr.NetworkException:                   {kafka.CommitRetriable, TxnAbortable},
		kerr.CoordinatorLoadInProgress:          {kafka.CommitRetriable, TxnAbortable},
		kerr.CoordinatorNotAvailable:            {kafka.CommitRetriable, TxnAbortable},
		kerr.NotCoordinator:                     {kafka.CommitRetriable, TxnAbortable},
		kerr.NotEnoughReplicas:                  {kafka.CommitRetriable, TxnAbortable},
		kerr.NotEnoughReplicasAfterAppend:       {kafka.CommitRetriable, TxnAbortable},
		kerr.KafkaStorageError:                  {kafka.CommitRetriable, TxnAbortable},
		kerr.ThrottlingQuotaExceeded:            {kafka.CommitRetriable, TxnAbortable},
		kerr.ConcurrentTransactions:             {kafka.CommitRetriable, TxnAbortable},
		kerr.InvalidTxnState:                    {kafka.CommitRetriable, TxnAbortable},
		kerr.TransactionAbortable:               {kafka.CommitRetriable, TxnAbortable},
		kerr.UnstableOffsetCommit:               {kafka.CommitRetriable, TxnAbortable},
		kerr.ProducerFenced:                     {kafka.CommitRetriable, TxnFenced}, // the transactional id's
		kerr.InvalidProducerEpoch:               {kafka.CommitRetriable, TxnFenced},
		kerr.InvalidProducerIDMapping:           {kafka.CommitRetriable, TxnFenced},
		kerr.IllegalGeneration:                  {kafka.CommitStaleMember, TxnAbortable},
		kerr.UnknownMemberID:                    {kafka.CommitStaleMember, TxnAbortable},
		kerr.RebalanceInProgress:                {kafka.CommitStaleMember, TxnAbortable},
		kerr.FencedInstanceID:                   {kafka.CommitStaleMember, TxnAbortable},
		kerr.GroupIDNotFound:                    {kafka.CommitStaleMember, TxnAbortable},
		kerr.FencedMemberEpoch:                  {kafka.CommitStaleMember, TxnAbortable},
		kerr.UnreleasedInstanceID:               {kafka.CommitStaleMember, TxnAbortable},
		kerr.StaleMemberEpoch:                   {kafka.CommitStaleMember, TxnAbortable},
		kerr.UnknownTopicOrPartition:            {kafka.CommitUnknownTopic, TxnAbortable},
		kerr.UnknownTopicID:                     {kafka.CommitUnknownTopic, TxnAbortable},
		kerr.InconsistentTopicID:                {kafka.CommitUnknownTopic, TxnAbortable},
		kerr.TopicAuthorizationFailed:           {kafka.CommitPartitionRefused, TxnAbortable},
		kerr.InvalidTopicException:              {kafka.CommitPartitionRefused, TxnAbortable},
		kerr.OffsetMetadataTooLarge:             {kafka.CommitPartitionRefused, TxnAbortable},
		kerr.InvalidCommitOffsetSize:            {kafka.CommitPartitionRefused, TxnAbortable},
		kerr.GroupAuthorizationFailed:           {kafka.CommitMemberRefused, TxnFatal},
		kerr.InvalidGroupID:                     {kafka.CommitMemberRefused, TxnFatal},
		kerr.ClusterAuthorizationFailed:         {kafka.CommitMemberRefused, TxnFatal},
		kerr.UnsupportedVersion:                 {kafka.CommitMemberRefused, TxnFatal},
		kerr.TransactionalIDAuthorizationFailed: {kafka.CommitMemberRefused, TxnFatal},
		kerr.UnsupportedForMessageFormat:        {kafka.CommitMemberRefused, TxnFatal},
		kerr.SaslAuthenticationFailed:           {kafka.CommitRetriable, TxnAbortable}, // a password may be renewed
	}
	for code := int16(-1); code < 200; code++ {
		e := kerr.ErrorForCode(code)
		var named *kerr.Error
		if code == 0 || !errors.As(e, &named) {
			continue
		}
		want, ok := known[named]
		if !ok {
			want.answer = kafka.CommitRetriable // never given up for an answer that nobody foresaw
		}
		err := fmt.Errorf("topic/0: %w", sarama.KError(code))
		if got := kafka.ClassifyCommit(err); got != want.answer {
			t.Errorf("%s: %v, want %v", named.Message, got, want.answer)
		}
		if ok {
			if got := txnKind(err); got != want.txn {
				t.Errorf("%s in a transaction: %v, want %v", named.Message, got, want.txn)
			}
		}
	}
	if got := kafka.ClassifyCommit(errors.New("connection reset")); got != kafka.CommitRetriable {
		t.Errorf("a broken connection: %v", got)
	}
	if got := kafka.ClassifyCommit(&access.ConfigError{Key: "sasl_password"}); got != kafka.CommitMemberRefused {
		t.Errorf("a wrong setting: %v", got)
	}
}

// Permanently refused offsets of a transaction are reported by partition, unless another error
// decides about the whole request.
func TestRefusedOffsetsOfATransaction(t *testing.T) {
	answer := func(partition int32, err sarama.KError) *sarama.PartitionError {
		return &sarama.PartitionError{Partition: partition, Err: err}
	}
	refused := kafka.RefusedOffsets(map[string][]*sarama.PartitionError{
		"a": {answer(0, sarama.ErrNoError), answer(1, sarama.ErrTopicAuthorizationFailed)},
		"b": {answer(0, sarama.ErrUnknownTopicOrPartition), answer(1, sarama.ErrOperationNotAttempted)},
	})
	if len(refused) != 2 ||
		!errors.Is(refused[kafka.TopicPartition{Topic: "a", Partition: 1}], sarama.ErrTopicAuthorizationFailed) ||
		!errors.Is(refused[kafka.TopicPartition{Topic: "b", Partition: 0}], sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("refused %v", refused)
	}
	for _, whole := range []sarama.KError{sarama.ErrIllegalGeneration, sarama.ErrGroupAuthorizationFailed, sarama.ErrNotCoordinatorForConsumer} {
		if refused := kafka.RefusedOffsets(map[string][]*sarama.PartitionError{
			"a": {answer(0, sarama.ErrUnknownTopicOrPartition), answer(1, whole)},
		}); len(refused) != 0 {
			t.Errorf("beside %v: refused %v", whole, refused)
		}
	}
	if got := txnKind(&kafka.OffsetsRefusedError{}); got != TxnAbortable {
		t.Errorf("kind %v", got)
	}
}
