package kafka

import (
	"errors"
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Every code that brokers answer OffsetCommit and TxnOffsetCommit with has one meaning.
func TestCommitAnswers(t *testing.T) {
	type meaning struct {
		answer CommitAnswer
		txn    TxnKind // of the same code in a transaction
	}
	known := map[*kerr.Error]meaning{
		kerr.UnknownServerError:                 {CommitPasses, TxnAbortable},
		kerr.RequestTimedOut:                    {CommitPasses, TxnAbortable},
		kerr.NetworkException:                   {CommitPasses, TxnAbortable},
		kerr.CoordinatorLoadInProgress:          {CommitPasses, TxnAbortable},
		kerr.CoordinatorNotAvailable:            {CommitPasses, TxnAbortable},
		kerr.NotCoordinator:                     {CommitPasses, TxnAbortable},
		kerr.NotEnoughReplicas:                  {CommitPasses, TxnAbortable},
		kerr.NotEnoughReplicasAfterAppend:       {CommitPasses, TxnAbortable},
		kerr.KafkaStorageError:                  {CommitPasses, TxnAbortable},
		kerr.ThrottlingQuotaExceeded:            {CommitPasses, TxnAbortable},
		kerr.ConcurrentTransactions:             {CommitPasses, TxnAbortable},
		kerr.InvalidTxnState:                    {CommitPasses, TxnAbortable},
		kerr.TransactionAbortable:               {CommitPasses, TxnAbortable},
		kerr.UnstableOffsetCommit:               {CommitPasses, TxnAbortable},
		kerr.ProducerFenced:                     {CommitPasses, TxnFenced}, // the transactional id's
		kerr.InvalidProducerEpoch:               {CommitPasses, TxnFenced},
		kerr.InvalidProducerIDMapping:           {CommitPasses, TxnFenced},
		kerr.IllegalGeneration:                  {CommitStaleMember, TxnAbortable},
		kerr.UnknownMemberID:                    {CommitStaleMember, TxnAbortable},
		kerr.RebalanceInProgress:                {CommitStaleMember, TxnAbortable},
		kerr.FencedInstanceID:                   {CommitStaleMember, TxnAbortable},
		kerr.GroupIDNotFound:                    {CommitStaleMember, TxnAbortable},
		kerr.FencedMemberEpoch:                  {CommitStaleMember, TxnAbortable},
		kerr.UnreleasedInstanceID:               {CommitStaleMember, TxnAbortable},
		kerr.StaleMemberEpoch:                   {CommitStaleMember, TxnAbortable},
		kerr.UnknownTopicOrPartition:            {CommitUnknownTopic, TxnAbortable},
		kerr.UnknownTopicID:                     {CommitUnknownTopic, TxnAbortable},
		kerr.InconsistentTopicID:                {CommitUnknownTopic, TxnAbortable},
		kerr.TopicAuthorizationFailed:           {CommitPartitionRefused, TxnAbortable},
		kerr.InvalidTopicException:              {CommitPartitionRefused, TxnAbortable},
		kerr.OffsetMetadataTooLarge:             {CommitPartitionRefused, TxnAbortable},
		kerr.InvalidCommitOffsetSize:            {CommitPartitionRefused, TxnAbortable},
		kerr.GroupAuthorizationFailed:           {CommitMemberRefused, TxnFatal},
		kerr.InvalidGroupID:                     {CommitMemberRefused, TxnFatal},
		kerr.ClusterAuthorizationFailed:         {CommitMemberRefused, TxnFatal},
		kerr.UnsupportedVersion:                 {CommitMemberRefused, TxnFatal},
		kerr.TransactionalIDAuthorizationFailed: {CommitMemberRefused, TxnFatal},
		kerr.UnsupportedForMessageFormat:        {CommitMemberRefused, TxnFatal},
		kerr.SaslAuthenticationFailed:           {CommitPasses, TxnAbortable}, // a password may be renewed
	}
	for code := int16(-1); code < 200; code++ {
		e := kerr.ErrorForCode(code)
		var named *kerr.Error
		if code == 0 || !errors.As(e, &named) {
			continue
		}
		want, ok := known[named]
		if !ok {
			want.answer = CommitPasses // never given up for an answer that nobody foresaw
		}
		err := fmt.Errorf("topic/0: %w", sarama.KError(code))
		if got := ClassifyCommit(err); got != want.answer {
			t.Errorf("%s: %v, want %v", named.Message, got, want.answer)
		}
		if ok {
			if got := txnKind(err); got != want.txn {
				t.Errorf("%s in a transaction: %v, want %v", named.Message, got, want.txn)
			}
		}
	}
	if got := ClassifyCommit(errors.New("connection reset")); got != CommitPasses {
		t.Errorf("a broken connection: %v", got)
	}
	if got := ClassifyCommit(&ConfigError{Key: "sasl_password"}); got != CommitMemberRefused {
		t.Errorf("a wrong setting: %v", got)
	}
}

// The offsets of a transaction that are refused for good are told by partition, unless
// another answer decides about the whole.
func TestRefusedOffsetsOfATransaction(t *testing.T) {
	answer := func(partition int32, err sarama.KError) *sarama.PartitionError {
		return &sarama.PartitionError{Partition: partition, Err: err}
	}
	refused := refusedOffsets(map[string][]*sarama.PartitionError{
		"a": {answer(0, sarama.ErrNoError), answer(1, sarama.ErrTopicAuthorizationFailed)},
		"b": {answer(0, sarama.ErrUnknownTopicOrPartition), answer(1, sarama.ErrOperationNotAttempted)},
	})
	if len(refused) != 2 ||
		!errors.Is(refused[TopicPartition{"a", 1}], sarama.ErrTopicAuthorizationFailed) ||
		!errors.Is(refused[TopicPartition{"b", 0}], sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("refused %v", refused)
	}
	for _, whole := range []sarama.KError{sarama.ErrIllegalGeneration, sarama.ErrGroupAuthorizationFailed, sarama.ErrNotCoordinatorForConsumer} {
		if refused := refusedOffsets(map[string][]*sarama.PartitionError{
			"a": {answer(0, sarama.ErrUnknownTopicOrPartition), answer(1, whole)},
		}); len(refused) != 0 {
			t.Errorf("beside %v: refused %v", whole, refused)
		}
	}
	if got := txnKind(&OffsetsRefusedError{}); got != TxnAbortable {
		t.Errorf("kind %v", got)
	}
}
