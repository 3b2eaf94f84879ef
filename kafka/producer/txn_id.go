package producer

import (
	"fmt"

	"github.com/racecar-go/racecar/kafka"
)

// Each transactional id has one owner at a time: the worker, or the owner of a partition,
// that it names. The next owner uses the same id and aborts what the previous one left
// open. Two owners at the same time would abort each other's transactions for ever; and
// without a next owner an open transaction blocks readers for transaction.timeout.ms.
//
// All ids start with the group and a slash, so that one ACL on prefixed ids covers them.
// Topics and names of workers contain no slash, so no two groups have the same id.

// TransactionalIDForPartition is the id of an instance for one partition (Concurrency).
// The partition's next owner uses it, in any process.
func TransactionalIDForPartition(group string, tp kafka.TopicPartition) string {
	return fmt.Sprintf("%s/%s/%d", group, tp.Topic, tp.Partition)
}

// TransactionalIDForWorker is the id of an instance for all partitions of a worker. slot
// names the worker: its replacement has the same, and no other worker ever.
func TransactionalIDForWorker(group, slot string) string {
	return fmt.Sprintf("%s/%s", group, slot)
}
